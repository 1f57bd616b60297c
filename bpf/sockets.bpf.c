// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which sockets does the node have, and how far do their windows let them send and receive?
 *
 * Hook:  iter/task_file, walked when user space asks: nothing at any other time. A run for each open file of each
 *        process; most are no sockets and leave after two reads.
 * Owner: the socket's cgroup, whichever process holds it.
 * Counts: a row for each descriptor of each process, so a socket that is shared comes several times with the same
 *        identity: the reader tells them apart.
 * Blind: sockets without a descriptor (TIME_WAIT, not accepted yet, closed and still sending, the kernel's own); what
 *        exceeds MAX_SOCKET_ROWS, which is counted.
 */
#include "net.h"

/* Whether sockets of every kind are wanted; else established TCP connections only. */
#ifndef EVERY_SOCKET
#define EVERY_SOCKET 0
#endif

#ifndef MAX_SOCKET_ROWS
#define MAX_SOCKET_ROWS 100000
#endif

/* include/uapi/linux/stat.h, magic.h; include/linux/net.h */
#define FILE_TYPE 0170000
#define FILE_IS_SOCKET 0140000
#define SOCKET_FILESYSTEM 0x534f434b
#define TYPE_STREAM 1
#define TYPE_DATAGRAM 2

#define COMMAND_BYTES 16

/* Addresses of two sockets differ in their lowest bits (64 TiB): the others are free for a part of the inode's number,
 * so that a socket is not taken for one that was freed during the walk. */
#define ADDRESS_BITS 46

struct socket_row {
	u64 identity;
	u64 inode;
	u64 cgroup_id;
	u64 sent_bytes;
	u64 acknowledged_bytes;
	u64 received_bytes;
	u32 local[4];
	u32 remote[4];
	u32 namespace;
	u32 process;
	u32 receive_queue; /* of a listener: connections that wait to be accepted */
	u32 send_queue; /* of a listener: how many may */
	u32 congestion_window;
	u32 receive_window;
	u32 send_window;
	u32 rtt_us;
	u32 rtt_variation_us;
	u32 segment_bytes;
	u32 retransmitted;
	u16 local_port;
	u16 remote_port;
	u16 protocol;
	u16 type;
	u16 family;
	u16 state;
	char command[COMMAND_BYTES];
};

/* Which walk it is, by the kernel's own number, and how many rows it has written. */
struct socket_walk {
	u64 session;
	u64 rows;
};

struct sockets_books {
	u64 seen;
	u64 limit;
};

BPF_ARRAY(socket_walks, struct socket_walk, 1);
BPF_PERCPU_ARRAY(books_sockets, struct sockets_books, 1);
BPF_PERCPU_ARRAY(runs_on_socket, struct program_runs, 1);

/* Without bpf_sock_from_file, which came with 5.11: only a socket's own file has an inode of that filesystem. */
static inline struct sock *socket_of_file(void *file, struct socket_row *row)
{
	void *inode = 0, *filesystem = 0, *socket = 0, *sk = 0;
	unsigned long magic = 0;
	u16 mode = 0;

	read_kernel(inode, file, struct file, f_inode);
	read_kernel(mode, inode, struct inode, i_mode);
	if ((mode & FILE_TYPE) != FILE_IS_SOCKET)
		return 0;
	read_kernel(filesystem, inode, struct inode, i_sb);
	read_kernel(magic, filesystem, struct super_block, s_magic);
	if (magic != SOCKET_FILESYSTEM)
		return 0;
	read_kernel(socket, file, struct file, private_data);
	if (!socket)
		return 0;
	read_kernel(sk, socket, struct socket, sk);
	if (!sk)
		return 0;
	read_kernel(row->inode, inode, struct inode, i_ino);
	row->identity = (u64)sk ^ row->inode << ADDRESS_BITS;
	return sk;
}

/* A raw socket may have TCP's number too, and is no TCP socket. */
static inline int is_connection(struct socket_row *row)
{
	return row->type == TYPE_STREAM && row->protocol == PROTOCOL_TCP;
}

static inline int is_wanted(struct sock *sk, struct socket_row *row)
{
	row->protocol = internet_protocol(sk);
	if (!row->protocol)
		return 0;
	row->state = tcp_state_of(sk);
	read_kernel(row->type, sk, struct sock, sk_type);
	return EVERY_SOCKET || (is_connection(row) && row->state == STATE_ESTABLISHED);
}

static inline void read_ends(struct sock *sk, struct socket_row *row)
{
	u32 local = 0, remote = 0;
	u16 remote_port = 0;

	read_kernel(row->family, sk, struct sock, __sk_common.skc_family);
	read_kernel(remote_port, sk, struct sock, __sk_common.skc_dport);
	row->local_port = socket_local_port(sk);
	row->remote_port = bpf_ntohs(remote_port);
	if (row->family == FAMILY_IPV4) {
		read_kernel(local, sk, struct sock, __sk_common.skc_rcv_saddr);
		read_kernel(remote, sk, struct sock, __sk_common.skc_daddr);
		set_ipv4(row->local, local);
		set_ipv4(row->remote, remote);
	} else {
		read_kernel(row->local, sk, struct sock, __sk_common.skc_v6_rcv_saddr);
		read_kernel(row->remote, sk, struct sock, __sk_common.skc_v6_daddr);
	}
}

static inline void read_owner(struct sock *sk, void *task, struct socket_row *row)
{
	void *net = 0, *leader = 0;

	row->cgroup_id = socket_cgroup(sk);
	read_kernel(net, sk, struct sock, __sk_common.skc_net);
	read_kernel(row->namespace, net, struct net, ns.inum);
	read_kernel(row->process, task, struct task_struct, tgid);
	read_kernel(leader, task, struct task_struct, group_leader);
	read_kernel(row->command, leader, struct task_struct, comm);
}

/* The members that tcp_get_info() gives to ss, in their units. */
static inline void read_connection(struct sock *sk, struct socket_row *row)
{
	u32 rtt_us_8 = 0, variation_us_4 = 0;

	read_kernel(row->congestion_window, sk, struct tcp_sock, snd_cwnd);
	read_kernel(row->receive_window, sk, struct tcp_sock, rcv_wnd);
	read_kernel(row->send_window, sk, struct tcp_sock, snd_wnd);
	read_kernel(rtt_us_8, sk, struct tcp_sock, srtt_us);
	read_kernel(variation_us_4, sk, struct tcp_sock, mdev_us);
	read_kernel(row->segment_bytes, sk, struct tcp_sock, mss_cache);
	read_kernel(row->retransmitted, sk, struct tcp_sock, total_retrans);
	read_kernel(row->sent_bytes, sk, struct tcp_sock, bytes_sent);
	read_kernel(row->acknowledged_bytes, sk, struct tcp_sock, bytes_acked);
	read_kernel(row->received_bytes, sk, struct tcp_sock, bytes_received);
	row->rtt_us = rtt_us_8 >> 3;
	row->rtt_variation_us = variation_us_4 >> 2;
}

/* As tcp_diag_get_info(), udp_diag_get_info() and raw_diag_get_info() have them. */
static inline void read_queues(struct sock *sk, struct socket_row *row)
{
	u32 sent = 0, written = 0, consumed = 0, received = 0, deficit = 0;

	if (row->state == STATE_LISTEN) {
		read_kernel(row->receive_queue, sk, struct sock, sk_ack_backlog);
		read_kernel(row->send_queue, sk, struct sock, sk_max_ack_backlog);
		return;
	}
	if (is_connection(row)) {
		read_kernel(received, sk, struct tcp_sock, rcv_nxt);
		read_kernel(consumed, sk, struct tcp_sock, copied_seq);
		read_kernel(written, sk, struct tcp_sock, write_seq);
		read_kernel(sent, sk, struct tcp_sock, snd_una);
		row->receive_queue = (int)(received - consumed) > 0 ? received - consumed : 0;
		row->send_queue = written - sent;
		return;
	}
	read_kernel(received, sk, struct sock, sk_backlog.rmem_alloc);
	read_kernel(written, sk, struct sock, sk_wmem_alloc);
	if (row->type == TYPE_DATAGRAM && row->protocol == PROTOCOL_UDP)
		read_kernel(deficit, sk, struct udp_sock, forward_deficit);
	row->receive_queue = received - deficit;
	row->send_queue = written - 1; /* the socket's own reference (sk_wmem_alloc_get) */
}

/* Where the reader's buffer is full, bpf_seq_write() fails and the kernel comes again with the same file: only then is
 * it seen. */
static inline void write_row(u64 *ctx, struct socket_row *row)
{
	struct sockets_books *books;
	struct socket_walk *walk;
	struct seq_file *out = 0;
	void *meta = (void *)ctx[0];
	u64 session = 0;
	int at = 0;

	books = books_sockets.lookup(&at);
	walk = socket_walks.lookup(&at);
	if (!books || !walk)
		return;
	read_kernel(session, meta, struct bpf_iter_meta, session_id);
	if (walk->session != session) {
		walk->session = session;
		walk->rows = 0;
	}
	if (walk->rows >= MAX_SOCKET_ROWS) {
		__sync_fetch_and_add(&books->seen, 1);
		__sync_fetch_and_add(&books->limit, 1);
		return;
	}
	asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(out) : "r"(meta));
	if (bpf_seq_write(out, row, sizeof(*row)))
		return;
	walk->rows++;
	__sync_fetch_and_add(&books->seen, 1);
}

static inline void on_file(u64 *ctx, void *task, void *file)
{
	struct socket_row row = {};
	struct sock *sk = socket_of_file(file, &row);

	if (!sk || !is_wanted(sk, &row))
		return;
	read_ends(sk, &row);
	read_owner(sk, task, &row);
	read_queues(sk, &row);
	if (is_connection(&row) && row.state != STATE_LISTEN)
		read_connection(sk, &row);
	write_row(ctx, &row);
}

/* ctx: meta, task, descriptor, file (kernel/bpf/task_iter.c); neither task nor file at the walk's end */
int on_socket(u64 *ctx)
{
	int at = 0;
	struct program_runs *runs = runs_on_socket.lookup(&at);
	u64 start_ns = count_run(runs);
	void *task = (void *)ctx[1], *file = (void *)ctx[3];

	if (task && file)
		on_file(ctx, task, file);
	time_run(runs, start_ns);
	return 0;
}
