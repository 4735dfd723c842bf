/* The kernel's limit: the smallest program that lists, flushes or proves a neighbour table.
 *
 *     limit list|flush|prove 4|6
 *
 * Looks at nothing, judges nothing, tells nothing but the nanoseconds from first send to last
 * answer. A flush turns each chunk of the answer into orders where it stands and sends it back.
 * To prove is to put what is STALE into PROBE, BURST at a time, and to look without a pause until
 * none is left there.
 */
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 128, BATCH = 128 }; /* as in resolve/rate_limit.py where no backlog is shown, and netlink/rtnetlink.py */

static char chunk[32768], orders[1 << 20];
static int table, channel, family, probing, waiting; /* bytes of orders; entries in PROBE */

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* One message of the answer; what shall be sent back of it, in bytes. */
static int take(struct nlmsghdr *at, char what)
{
	struct ndmsg *entry = NLMSG_DATA(at);
	int size = NLMSG_ALIGN(at->nlmsg_len);

	waiting += !!(entry->ndm_state & NUD_PROBE);
	at->nlmsg_flags = NLM_F_REQUEST;
	if (what == 'f') {
		at->nlmsg_type = RTM_DELNEIGH;
		return size;
	}
	if (what == 'p' && entry->ndm_state == NUD_STALE && probing + size <= (int)sizeof(orders)) {
		entry->ndm_state = NUD_PROBE;
		memcpy(orders + probing, at, size);
		probing += size;
	}
	return 0;
}

static int look(char what)
{
	struct { struct nlmsghdr head; struct ndmsg body; } ask = {
		.head = { sizeof(ask), RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
		.body = { .ndm_family = family },
	};

	waiting = 0;
	if (send(table, &ask, sizeof(ask), 0) < 0)
		return -1;
	for (;;) {
		int rest = recv(table, chunk, sizeof(chunk), 0), end = 0;
		struct nlmsghdr *at = (struct nlmsghdr *)chunk;

		if (rest < 0)
			return -1;
		for (; NLMSG_OK(at, rest) && at->nlmsg_type != NLMSG_DONE; at = NLMSG_NEXT(at, rest))
			end += take(at, what);
		if (end && send(channel, chunk, end, 0) < 0)
			return -1;
		if (NLMSG_OK(at, rest))
			return waiting;
	}
}

static int prove(void)
{
	int size = ((struct nlmsghdr *)orders)->nlmsg_len; /* all alike */

	for (int at = 0; at < probing || waiting;) {
		for (int room = BURST - waiting; room > 0 && at < probing;) {
			int count = room < BATCH ? room : BATCH, left = (probing - at) / size;

			count = count < left ? count : left;
			if (send(channel, orders + at, count * size, 0) < 0)
				return -1;
			at += count * size;
			room -= count;
		}
		if (look('l') < 0)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	long long began;

	if (argc < 3)
		return 2;
	table = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	channel = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	family = *argv[2] == '6' ? AF_INET6 : AF_INET;
	began = now();
	if (look(*argv[1]) < 0 || (*argv[1] == 'p' && prove() < 0))
		return 1;
	printf("%lld\n", now() - began);
	return 0;
}
