// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which destinations that are not on its list does a watched workload talk to?
 *
 * Hook:  cgroup links on connect4, connect6, sendmsg4 and sendmsg6: where a process names the other end of a TCP, MPTCP
 *        or UDP socket, by whichever system call (fast open and io_uring, too). The programs refuse nothing.
 * Cost:  who is not watched pays two look-ups for a connect(), and for a datagram of a socket without a peer. Who is,
 *        one in the trie more; only what is not on the list is read any further.
 * Owner: the cgroup of the process that calls. Before Linux 5.12 io_uring may call from a thread of the kernel's own.
 * Tells: the address that was asked for, before kube-proxy or a firewall puts another in its place. An attempt that fails
 *        is one. A connected UDP socket is told once, when it is connected, also where nothing is sent: as by glibc's
 *        getaddrinfo(), which connects to each of several addresses to learn which is nearest.
 * Blind: raw and packet sockets, SCTP, ICMP (before 6.2); sockets that were connected before the watch began, or by
 *        another cgroup that passed them on; answers to whoever connected to this workload.
 */
/* The longest path that is told, and five ancestors: 1,350 bytes. Records are made in the ring itself, for these programs
 * may be preempted, and memory of a CPU would have two users. The longest write is a name. */
#define TOLD_BYTES 1408
#define TOLD_SLACK 256

/* The verifiers of 5.10 and 6.1 walk each step, and where they refuse only the bare programs are left. */
#define PATH_STEPS 96

#include "process.h"

/* 4 MiB hold 2,400 records: of five seconds, the default time between two drains, 480 a second. */
#define RING_PAGES 1024

/* Of all groups: a hundred lists of 160 rows, 1.5 MiB once they are all in use. */
#define MAX_ALLOWED 16384

#define ANY_BITS 160

/* length: of the bits that count, the group's 32 among them. Address as in struct flow_key. */
struct egress_prefix {
	u32 length;
	u32 group;
	u32 address[4];
};

/* Port in host order. call: of agent.collectors.egress.CALLS. */
struct egress_record {
	u32 address[4];
	u16 port;
	u8 transport;
	u8 call;
	u32 pad;
	struct process_record process;
};

struct egress_books {
	u64 seen;
	u64 rate_limit;
	u64 ring_full;
};

enum egress_call { EGRESS_CONNECT, EGRESS_SEND };

BPF_HASH(egress_watches, u64, struct security_watch, MAX_CGROUPS + 1);
/* A bucket that is forgotten is full again. */
BPF_TABLE("lru_hash", u64, u64, egress_buckets, MAX_CGROUPS);
/* What finds no room here is counted in the books alone. */
BPF_HASH(egress_suppressed, u64, u64, MAX_CGROUPS);
BPF_LPM_TRIE(egress_allowed, struct egress_prefix, u64, MAX_ALLOWED);
BPF_RINGBUF_OUTPUT(egress, RING_PAGES);
BPF_PERCPU_ARRAY(books_egress, struct egress_books, 1);
BPF_PERCPU_ARRAY(runs_on_connect4, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_connect6, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_send4, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_send6, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_connect4_bare, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_connect6_bare, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_send4_bare, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_send6_bare, struct program_runs, 1);

/* One load at a constant offset, as socket_word() in packet.bpf.c. */
#define address_word(ctx, member)                                                                                      \
	({                                                                                                             \
		u32 word;                                                                                              \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                                                  \
			     : "=r"(word)                                                                              \
			     : "r"(ctx), "i"(offsetof(struct bpf_sock_addr, member)));                                 \
		word;                                                                                                  \
	})

/* Its own row, or that of all who have none. */
static inline struct security_watch *egress_watch(void)
{
	u64 cgroup_id = bpf_get_current_cgroup_id(), others = 0;
	struct security_watch *watch = egress_watches.lookup(&cgroup_id);

	if (!watch)
		watch = egress_watches.lookup(&others);
	return is_watched(watch) ? watch : 0;
}

static inline void read_destination(struct bpf_sock_addr *ctx, u32 *address, u32 is_ipv6)
{
	if (!is_ipv6) {
		set_ipv4(address, address_word(ctx, user_ip4));
		return;
	}
	address[0] = address_word(ctx, user_ip6[0]);
	address[1] = address_word(ctx, user_ip6[1]);
	address[2] = address_word(ctx, user_ip6[2]);
	address[3] = address_word(ctx, user_ip6[3]);
}

/* The address of all zeros is this host (net/ipv4/route.c, ip_route_output_key_hash_rcu; tcp_v6_connect): on the list
 * where loopback is. */
static inline void name_this_host(u32 *address)
{
	if (address[0] | address[1] | address[3])
		return;
	if (address[2] == bpf_htonl(0xffff))
		address[3] = bpf_htonl(0x7f000001);
	else if (!address[2])
		address[3] = bpf_htonl(1);
}

static inline u32 is_allowed(u32 *address, u32 group)
{
	struct egress_prefix wanted = {.length = ANY_BITS, .group = group};

	__builtin_memcpy(wanted.address, address, sizeof(wanted.address));
	name_this_host(wanted.address);
	return egress_allowed.lookup(&wanted) != 0;
}

static inline void suppress(u64 cgroup_id)
{
	u64 zero = 0, *count = egress_suppressed.lookup_or_try_init(&cgroup_id, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* What may be said without reading the kernel's memory. */
static inline void begin_bare_process(struct process_record *process, u64 now_ns, u64 cgroup_id)
{
	process->time_ns = now_ns;
	process->cgroup_id = cgroup_id;
	process->pid = bpf_get_current_pid_tgid() >> 32;
	process->vpid = 0;
	process->parent_pid = 0;
	process->uid = bpf_get_current_uid_gid();
	process->flags = 0;
	process->length = 0;
}

static inline void tell_destination(struct bpf_sock_addr *ctx, struct security_watch *watch, u32 *address,
				    u64 cgroup_id, u32 call, u32 is_bare)
{
	struct egress_record *record;
	struct egress_books *books;
	u64 now_ns = bpf_ktime_get_ns(), zero = 0;
	u32 protocol = address_word(ctx, protocol);
	int row = 0;

	books = books_egress.lookup(&row);
	if (!books)
		return;
	__sync_fetch_and_add(&books->seen, 1);
	if (!take_token(watch, egress_buckets.lookup_or_try_init(&cgroup_id, &zero), now_ns)) {
		__sync_fetch_and_add(&books->rate_limit, 1);
		suppress(cgroup_id);
		return;
	}
	record = egress.ringbuf_reserve(sizeof(*record));
	if (!record) {
		__sync_fetch_and_add(&books->ring_full, 1);
		return;
	}
	__builtin_memcpy(record->address, address, sizeof(record->address));
	record->port = bpf_ntohs(address_word(ctx, user_port));
	record->transport = protocol == PROTOCOL_MPTCP ? TRANSPORT_TCP : transport_of(protocol);
	record->call = call;
	if (is_bare)
		begin_bare_process(&record->process, now_ns, cgroup_id);
	else
		begin_process(&record->process, (void *)bpf_get_current_task(), now_ns, cgroup_id);
	egress.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* One load at a constant offset of a socket: see socket_word() in packet.bpf.c. */
#define egress_word(sk, member)                                                                                        \
	({                                                                                                             \
		u32 word;                                                                                              \
		asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(word) : "r"(sk), "i"(offsetof(struct bpf_sock, member))); \
		word;                                                                                                  \
	})

/* Is this the one that the socket is connected to? That was told when it was connected. A socket of IPv6 with a peer of
 * IPv4 passes the hook with each datagram, as if it had been named again (net/ipv6/udp.c, udpv6_sendmsg). */
static inline u32 is_own_peer(struct bpf_sock_addr *ctx, u32 *address, u32 is_ipv6)
{
	struct bpf_sock *sk = ctx->sk;
	u32 differs;

	if (!sk || sk->dst_port != (u16)address_word(ctx, user_port))
		return 0;
	if (!is_ipv6)
		return egress_word(sk, dst_ip4) == address[3];
	differs = egress_word(sk, dst_ip6[0]) ^ address[0];
	differs |= egress_word(sk, dst_ip6[1]) ^ address[1];
	differs |= egress_word(sk, dst_ip6[2]) ^ address[2];
	differs |= egress_word(sk, dst_ip6[3]) ^ address[3];
	return !differs;
}

/* A datagram to port 0: one of a connected socket with a control message, which names nobody, for a datagram that names
 * that port is not sent (net/ipv4/udp.c, udp_sendmsg). Those of a socket that is connected to it are: so this is told. */
static inline void on_destination(struct bpf_sock_addr *ctx, struct security_watch *watch, u32 call, u32 is_ipv6,
				  u32 is_bare)
{
	u64 cgroup_id = bpf_get_current_cgroup_id();
	u32 address[4];

	if (call == EGRESS_SEND && !address_word(ctx, user_port))
		return;
	read_destination(ctx, address, is_ipv6);
	if (is_allowed(address, watch->group) || (call == EGRESS_SEND && is_own_peer(ctx, address, is_ipv6)))
		return;
	tell_destination(ctx, watch, address, cgroup_id, call, is_bare);
}

int on_connect4(struct bpf_sock_addr *ctx)
{
	struct security_watch *watch = egress_watch();
	struct program_runs *runs;
	u64 start_ns;
	int row = 0;

	if (!watch)
		return 1;
	runs = runs_on_connect4.lookup(&row);
	start_ns = count_run(runs);
	on_destination(ctx, watch, EGRESS_CONNECT, 0, 0);
	time_run(runs, start_ns);
	return 1;
}

int on_connect6(struct bpf_sock_addr *ctx)
{
	struct security_watch *watch = egress_watch();
	struct program_runs *runs;
	u64 start_ns;
	int row = 0;

	if (!watch)
		return 1;
	runs = runs_on_connect6.lookup(&row);
	start_ns = count_run(runs);
	on_destination(ctx, watch, EGRESS_CONNECT, 1, 0);
	time_run(runs, start_ns);
	return 1;
}

int on_send4(struct bpf_sock_addr *ctx)
{
	struct security_watch *watch = egress_watch();
	struct program_runs *runs;
	u64 start_ns;
	int row = 0;

	if (!watch)
		return 1;
	runs = runs_on_send4.lookup(&row);
	start_ns = count_run(runs);
	on_destination(ctx, watch, EGRESS_SEND, 0, 0);
	time_run(runs, start_ns);
	return 1;
}

int on_send6(struct bpf_sock_addr *ctx)
{
	struct security_watch *watch = egress_watch();
	struct program_runs *runs;
	u64 start_ns;
	int row = 0;

	if (!watch)
		return 1;
	runs = runs_on_send6.lookup(&row);
	start_ns = count_run(runs);
	on_destination(ctx, watch, EGRESS_SEND, 1, 0);
	time_run(runs, start_ns);
	return 1;
}

/* Where the kernel's memory may not be read (without PERFMON, or under lockdown): of the process its id and its user. */
int on_connect4_bare(struct bpf_sock_addr *ctx)
{
	struct security_watch *watch = egress_watch();
	struct program_runs *runs;
	u64 start_ns;
	int row = 0;

	if (!watch)
		return 1;
	runs = runs_on_connect4_bare.lookup(&row);
	start_ns = count_run(runs);
	on_destination(ctx, watch, EGRESS_CONNECT, 0, 1);
	time_run(runs, start_ns);
	return 1;
}

int on_connect6_bare(struct bpf_sock_addr *ctx)
{
	struct security_watch *watch = egress_watch();
	struct program_runs *runs;
	u64 start_ns;
	int row = 0;

	if (!watch)
		return 1;
	runs = runs_on_connect6_bare.lookup(&row);
	start_ns = count_run(runs);
	on_destination(ctx, watch, EGRESS_CONNECT, 1, 1);
	time_run(runs, start_ns);
	return 1;
}

int on_send4_bare(struct bpf_sock_addr *ctx)
{
	struct security_watch *watch = egress_watch();
	struct program_runs *runs;
	u64 start_ns;
	int row = 0;

	if (!watch)
		return 1;
	runs = runs_on_send4_bare.lookup(&row);
	start_ns = count_run(runs);
	on_destination(ctx, watch, EGRESS_SEND, 0, 1);
	time_run(runs, start_ns);
	return 1;
}

int on_send6_bare(struct bpf_sock_addr *ctx)
{
	struct security_watch *watch = egress_watch();
	struct program_runs *runs;
	u64 start_ns;
	int row = 0;

	if (!watch)
		return 1;
	runs = runs_on_send6_bare.lookup(&row);
	start_ns = count_run(runs);
	on_destination(ctx, watch, EGRESS_SEND, 1, 1);
	time_run(runs, start_ns);
	return 1;
}
