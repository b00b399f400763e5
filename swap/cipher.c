/* SPDX-License-Identifier: MIT
 * cipher.c - see cipher.h. */
#include "swap/cipher.h"

#include "mm/errno.h"
#include "swap/sys.h"

/* libcrypto.a (OpenSSL 1.1.0 and later). counter: the block, then 96 bits of nonce */
void ChaCha20_ctr32(unsigned char *out, const unsigned char *in, size_t len, const uint32_t key[8], const uint32_t counter[4]);

int cipher_init(struct cipher *c)
{
	return sys_getrandom(c->key, sizeof(c->key)) == sizeof(c->key) ? 0 : -EIO;
}

void cipher_apply(const struct cipher *c, uint64_t generation, size_t offset, void *bytes, size_t len)
{
	const uint32_t counter[4] = { (uint32_t)(offset / CIPHER_BLOCK), (uint32_t)generation, (uint32_t)(generation >> 32), 0 };

	ChaCha20_ctr32(bytes, bytes, len, c->key, counter);
}
