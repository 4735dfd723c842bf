/* The kernel's limit: the smallest program that lists or flushes a neighbour table.
 *
 *     limit list|flush 4|6
 *
 * Looks at nothing, judges nothing, tells nothing but the nanoseconds from first send to last
 * answer. A flush turns each chunk of the answer into orders where it stands and sends it back.
 */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char chunk[32768];

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	struct { struct nlmsghdr head; struct ndmsg body; } ask = {
		.head = { sizeof(ask), RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
	};
	int table = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	int orders = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	int flush = argc > 2 && !strcmp(argv[1], "flush"), done = 0;
	long long began = now();

	ask.body.ndm_family = argc > 2 && *argv[2] == '6' ? AF_INET6 : AF_INET;
	if (send(table, &ask, sizeof(ask), 0) < 0)
		return 1;
	while (!done) {
		int length = recv(table, chunk, sizeof(chunk), 0), end = 0;
		struct nlmsghdr *at = (struct nlmsghdr *)chunk;

		if (length < 0)
			return 1;
		for (int rest = length; NLMSG_OK(at, rest); at = NLMSG_NEXT(at, rest)) {
			if (at->nlmsg_type == NLMSG_DONE) {
				done = 1;
				break;
			}
			at->nlmsg_type = RTM_DELNEIGH;
			at->nlmsg_flags = NLM_F_REQUEST;
			end += NLMSG_ALIGN(at->nlmsg_len);
		}
		if (flush && end && send(orders, chunk, end, 0) < 0)
			return 1;
	}
	printf("%lld\n", now() - began);
	return 0;
}
