// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which states does each TCP connection pass through, one by one, and when?
 *
 * Hook:  BTF tracepoint inet_sock_set_state, once a state change: five a connection and side. Two programs, because
 *        since Linux 6.1 the kernel leaves out a program's run inside itself; without BTF or before 5.11 one, on the
 *        raw tracepoint.
 * Owner: the socket's cgroup.
 * Tells: every change, listeners' too, as a record in a ring buffer that wakes nobody.
 * Blind: TIME_WAIT, where the kernel has put a small socket in place of the one that is told of as closed; the local port
 *        at SYN_SENT (it is chosen after that) and the peer at SYN_RECV (the new socket is still its listener's copy).
 */
#include "net.h"

/* 4 MiB hold 58,254 records: five seconds, the default time between two drains, of 11,650 changes each second. The
 * reader is rated at 10,000. */
#define RING_PAGES 1024

/* Addresses as in struct flow_key, ports in host order. */
struct tcp_state_event {
	u64 time_ns;
	u64 cgroup_id;
	u32 local_address[4];
	u32 remote_address[4];
	u32 network_namespace;
	u16 local_port;
	u16 remote_port;
	u8 from;
	u8 to;
	u8 pad[6];
};

struct tcp_state_events_books {
	u64 seen;
	u64 ring_full;
	u64 no_storage;
};

/* The state of which the last event told. */
struct tcp_state_told {
	u64 state;
};

BPF_SK_STORAGE(tcp_states_told, struct tcp_state_told);
BPF_RINGBUF_OUTPUT(tcp_state_events, RING_PAGES);
BPF_PERCPU_ARRAY(books_tcp_state_events, struct tcp_state_events_books, 1);
BPF_PERCPU_ARRAY(runs_on_tcp_state, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_tcp_state_left_out, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_tcp_state_without_storage, struct program_runs, 1);

static inline void read_addresses(struct tcp_state_event *event, struct sock *sk)
{
	u32 local = 0, remote = 0;
	u16 family = 0;

	read_kernel(family, sk, struct sock, __sk_common.skc_family);
	if (family == FAMILY_IPV4) {
		read_kernel(local, sk, struct sock, __sk_common.skc_rcv_saddr);
		read_kernel(remote, sk, struct sock, __sk_common.skc_daddr);
		set_ipv4(event->local_address, local);
		set_ipv4(event->remote_address, remote);
	} else {
		read_kernel(event->local_address, sk, struct sock, __sk_common.skc_v6_rcv_saddr);
		read_kernel(event->remote_address, sk, struct sock, __sk_common.skc_v6_daddr);
	}
}

/* Its inode number, as `lsns` and /proc/PID/ns/net show it. */
static inline u32 socket_namespace_number(struct sock *sk)
{
	void *net = 0;
	u32 number = 0;

	read_kernel(net, sk, struct sock, __sk_common.skc_net);
	if (net)
		read_kernel(number, net, struct net, ns.inum);
	return number;
}

static inline void report(struct sock *sk, u32 from, u32 to)
{
	struct tcp_state_events_books *books;
	struct tcp_state_event *event;
	u16 remote_port = 0;
	int row = 0;

	books = books_tcp_state_events.lookup(&row);
	if (!books)
		return;
	__sync_fetch_and_add(&books->seen, 1);
	event = tcp_state_events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		__sync_fetch_and_add(&books->ring_full, 1);
		return;
	}
	event->time_ns = bpf_ktime_get_ns();
	event->cgroup_id = socket_cgroup(sk);
	read_addresses(event, sk);
	event->network_namespace = socket_namespace_number(sk);
	event->local_port = socket_local_port(sk);
	read_kernel(remote_port, sk, struct sock, __sk_common.skc_dport);
	event->remote_port = bpf_ntohs(remote_port);
	event->from = from;
	event->to = to;
	tcp_state_events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static inline void lose_state_change(void)
{
	struct tcp_state_events_books *books;
	int row = 0;

	books = books_tcp_state_events.lookup(&row);
	if (!books)
		return;
	__sync_fetch_and_add(&books->seen, 1);
	__sync_fetch_and_add(&books->no_storage, 1);
}

/* ctx: socket, old state, new state (include/trace/events/sock.h) */
int on_tcp_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct tcp_state_told *told;
	int row = 0;
	struct program_runs *runs = runs_on_tcp_state.lookup(&row);
	u64 start_ns = count_run(runs);

	if (is_tcp(sk)) {
		told = tcp_states_told.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (told) {
			told->state = ctx[2];
			report(sk, ctx[1], ctx[2]);
		}
	}
	time_run(runs, start_ns);
	return 0;
}

/* Tells what the first program has not: a change in the middle of that one's run on the same CPU, when a softirq came in
 * between. After that there may be hundreds at once. No softirq interrupts another, so they are not both left out. */
int on_tcp_state_left_out(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct tcp_state_told *told;
	int row = 0;
	struct program_runs *runs = runs_on_tcp_state_left_out.lookup(&row);
	u64 start_ns = count_run(runs);

	if (is_tcp(sk)) {
		told = tcp_states_told.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!told) {
			lose_state_change();
		} else if (told->state != ctx[2]) {
			told->state = ctx[2];
			report(sk, ctx[1], ctx[2]);
		}
	}
	time_run(runs, start_ns);
	return 0;
}

/* The kernels that this is for leave nothing out. On a newer one without BTF what is left out is lost, and counted as
 * such. */
int on_tcp_state_without_storage(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int row = 0;
	struct program_runs *runs = runs_on_tcp_state_without_storage.lookup(&row);
	u64 start_ns = count_run(runs);

	if (is_tcp(sk))
		report(sk, ctx->args[1], ctx->args[2]);
	time_run(runs, start_ns);
	return 0;
}
