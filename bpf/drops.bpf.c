// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which packets does the kernel drop, why, and in whose network?
 *
 * Hook:  raw tracepoint kfree_skb: once for each packet that is thrown away; what was delivered or sent ends elsewhere
 *        (consume_skb). iter/task when a namespace turns up that nobody knows.
 * Owner: the network namespace in which the packet was: its device's, else that of the socket which it was for, else
 *        that of the socket which sent it. A packet keeps its sender's socket on its way into another namespace
 *        (9c4c325252c5, "skbuff: preserve sock reference when scrubbing the skb."), so the device comes first.
 * Counts: packets as the kernel passes them: a super-packet is one.
 * Blind: what a network card drops by itself; messages of other kinds of sockets (Unix, netlink, vsock) are no packets.
 */
#include "net.h"

#ifndef __VMLINUX_H__
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <net/net_namespace.h>
#include <net/tcp.h>
#endif

#define FAMILY_PACKET 17
#define STATE_TIME_WAIT 6
#define TCP_FIN 1

/* Kernels before 5.17 give no reason. */
#define NO_REASON 0xffffffff

/* is_spent: an empty TCP segment that may have done its work before it was thrown away. */
struct drop_key {
	u64 namespace;
	u32 reason;
	u32 is_spent;
};

struct drop_process {
	u64 namespace;
	u64 cgroup_id;
	u64 process;
};

struct drops_books {
	u64 seen;
	u64 map_full;
};

BPF_HASH(drops, struct drop_key, u64, MAX_DROPS);
/* What finds no room there, without its reason. */
BPF_HASH(drop_others, struct drop_key, u64, 2 * MAX_NAMESPACES); /* spent or not */
BPF_PERCPU_ARRAY(books_drops, struct drops_books, 1);
BPF_PERCPU_ARRAY(runs_on_drop, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_process, struct program_runs, 1);

/* A number that is never given to a second namespace. Before 5.12 the cookie came on demand (3d368ab87cf6, "net:
 * initialize net->net_cookie at netns setup"), so the inode number stands for the namespace, which may be used again;
 * those begin at 0xf0000000, which no count of namespaces reaches. */
static inline u64 namespace_of(void *net)
{
	u64 cookie = 0;
	u32 inode = 0;

	if (!net)
		return 0;
	if (__builtin_types_compatible_p(typeof(((struct net *)0)->net_cookie), u64))
		read_kernel(cookie, net, struct net, net_cookie);
	if (cookie)
		return cookie;
	read_kernel(inode, net, struct net, ns.inum);
	return inode;
}

/* The word of a packet's device has another meaning while the packet waits in a queue: UDP keeps sizes there, trees a
 * pointer. So what it leads to has to prove that it is a device: its namespace's loopback device is in that namespace. */
static inline void *device_net(void *skb)
{
	void *device = 0, *net = 0, *loopback = 0, *same = 0;

	read_kernel(device, skb, struct sk_buff, dev);
	if (!device || read_kernel(net, device, struct net_device, nd_net) || !net)
		return 0;
	if (read_kernel(loopback, net, struct net, loopback_dev) || !loopback)
		return 0;
	if (read_kernel(same, loopback, struct net_device, nd_net) || same != net)
		return 0;
	return net;
}

static inline void *socket_net(void *sk)
{
	void *net = 0;

	if (sk)
		read_kernel(net, sk, struct sock, __sk_common.skc_net);
	return net;
}

/* Sockets of other kinds pass their messages in the same structure, but without a protocol number. */
static inline int is_packet(void *skb, void *sk)
{
	u16 protocol = 0, family = 0;

	read_kernel(protocol, skb, struct sk_buff, protocol);
	if (protocol)
		return 1;
	if (sk)
		read_kernel(family, sk, struct sock, __sk_common.skc_family);
	return family == FAMILY_IPV4 || family == FAMILY_IPV6 || family == FAMILY_PACKET;
}

/* TCP throws segments without data away here also when it has done what they say, and then gives no reason: what comes
 * for a socket in TIME_WAIT or half closed, and the FIN in the queue of one that was closed before it came. That one
 * has lost its headers and its receiver; its owner is the socket in whose queue it was. */
static inline u32 is_spent(void *skb, void *receiver, void *owner)
{
	void *sk = receiver ? receiver : owner;
	struct tcp_skb_cb segment = {};
	u32 length = 1;

	if (!sk || (tcp_state_of(sk) != STATE_TIME_WAIT && !is_tcp(sk))) /* there is no protocol in TIME_WAIT */
		return 0;
	read_kernel(length, skb, struct sk_buff, len);
	if (!receiver)
		return !length;
	read_kernel(segment, skb, struct sk_buff, cb);
	return segment.end_seq - segment.seq == (segment.tcp_flags & TCP_FIN);
}

static inline void count_drop(void *skb, u32 reason, void *receiver)
{
	struct drop_key key = {};
	struct drops_books *books;
	void *owner = 0, *net;
	u64 zero = 0, *count;
	int row = 0;

	read_kernel(owner, skb, struct sk_buff, sk);
	if (!is_packet(skb, receiver ? receiver : owner))
		return;
	net = device_net(skb);
	if (!net)
		net = socket_net(receiver);
	if (!net)
		net = socket_net(owner);
	key.namespace = namespace_of(net);
	key.reason = reason;
	key.is_spent = is_spent(skb, receiver, owner);
	books = books_drops.lookup(&row);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	count = drops.lookup_or_try_init(&key, &zero);
	if (!count) {
		key.reason = NO_REASON;
		count = drop_others.lookup_or_try_init(&key, &zero);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
	else if (books)
		__sync_fetch_and_add(&books->map_full, 1);
}

/* ctx: packet, where, reason, the socket that it was for (include/trace/events/skb.h) */
int on_drop_with_reason_and_socket(struct bpf_raw_tracepoint_args *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_drop.lookup(&row);
	u64 start_ns = count_run(runs);

	count_drop((void *)ctx->args[0], ctx->args[2], (void *)ctx->args[3]);
	time_run(runs, start_ns);
	return 0;
}

int on_drop_with_reason(struct bpf_raw_tracepoint_args *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_drop.lookup(&row);
	u64 start_ns = count_run(runs);

	count_drop((void *)ctx->args[0], ctx->args[2], 0);
	time_run(runs, start_ns);
	return 0;
}

int on_drop(struct bpf_raw_tracepoint_args *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_drop.lookup(&row);
	u64 start_ns = count_run(runs);

	count_drop((void *)ctx->args[0], NO_REASON, 0);
	time_run(runs, start_ns);
	return 0;
}

/* A process is in the namespace of its first thread: container runtimes send single threads into others for a moment.
 * Where that one has ended before the others, they stand for the process. */
static inline void *process_net(void *task)
{
	void *leader = 0, *proxy = 0, *net = 0;

	read_kernel(leader, task, struct task_struct, group_leader);
	read_kernel(proxy, leader, struct task_struct, nsproxy);
	if (leader != task) {
		if (proxy)
			return 0;
		read_kernel(proxy, task, struct task_struct, nsproxy);
	}
	if (proxy)
		read_kernel(net, proxy, struct nsproxy, net_ns);
	return net;
}

/* ctx: meta, task (kernel/bpf/task_iter.c); no task at the walk's end. */
int on_process(u64 *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_process.lookup(&row);
	u64 start_ns = count_run(runs);
	void *meta = (void *)ctx[0], *task = (void *)ctx[1], *set = 0, *cgroup = 0, *node = 0, *net;
	struct drop_process process = {};
	struct seq_file *out = 0;
	u32 number = 0;

	if (!task)
		return 0;
	net = process_net(task);
	if (!net)
		return 0;
	read_kernel(number, task, struct task_struct, tgid);
	read_kernel(set, task, struct task_struct, cgroups);
	read_kernel(cgroup, set, struct css_set, dfl_cgrp);
	read_kernel(node, cgroup, struct cgroup, kn);
	read_kernel(process.cgroup_id, node, struct kernfs_node, id);
	process.namespace = namespace_of(net);
	process.process = number;
	asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(out) : "r"(meta));
	bpf_seq_write(out, &process, sizeof(process));
	time_run(runs, start_ns);
	return 0;
}
