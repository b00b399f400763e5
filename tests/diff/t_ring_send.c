/* SPDX-License-Identifier: MIT
 *
 * t_ring_send - io_uring's SEND_ZC by liburing, whose calls nobody sees: as t_zerocopy.
 */
#include "stalled.h"

#include <liburing.h>

static void sent(const char *name, uint64_t seed)
{
	struct stalled s = stalled_open();
	char *w = map(NR_SENT * PAGE);
	struct io_uring ring;
	struct io_uring_cqe *cqe;

	if (io_uring_queue_init(4, &ring, 0)) {
		say("no ring");
		return;
	}
	say("%s", name);
	fill(w, NR_SENT * PAGE, seed);
	pressure();
	io_uring_prep_send_zc(io_uring_get_sqe(&ring), s.sender, w, NR_SENT * PAGE, 0, 0);
	RC("submitted", io_uring_submit(&ring));
	RC("waited", io_uring_wait_cqe(&ring, &cqe));
	say("result %d", cqe->res);
	stalled_receive(s, w, seed);
	io_uring_queue_exit(&ring);
}

static void in_a_child(void *arg)
{
	sent("child", 2);
}

int main(void)
{
	sent("parent", 1);
	in_child("child", in_a_child, NULL);
	return done();
}
