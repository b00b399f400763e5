/* SPDX-License-Identifier: MIT
 *
 * cipher.h - what is written to the swap file is written in ChaCha20 (RFC 8439).
 *
 * The block function is that of OpenSSL's libcrypto.a: one leaf routine, AVX-512 where the processor has it, without memory,
 * locks or thread-local storage of its own, which EVP would bring to the other side of a fault. A segment is one stream: its
 * generation is the nonce, and byte n of it is byte n % 64 of block n / 64, so that any object can be read alone.
 *
 * The stream is not authenticated: the 128-bit hash of each page, keyed and kept in memory, tells damage when the page comes back.
 */
#ifndef MF_SWAP_CIPHER_H
#define MF_SWAP_CIPHER_H

#include <stddef.h>
#include <stdint.h>

#define CIPHER_BLOCK 64u

struct cipher {
	uint32_t key[8];
};

/* A new key, from the kernel. => 0, -EIO */
int cipher_init(struct cipher *c);
/* In place, there and back. offset: a multiple of CIPHER_BLOCK */
void cipher_apply(const struct cipher *c, uint64_t generation, size_t offset, void *bytes, size_t len);

#endif
