/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sockets, addresses and their owner, for every program. Kernel differences stand here and nowhere else.
 *
 * BCC rewrites the main file only: everything here reads the kernel explicitly and takes plain values.
 */
#ifndef BPFLEET_NET_H
#define BPFLEET_NET_H

#ifndef __VMLINUX_H__
#include <linux/bpf.h>
#include <linux/cgroup-defs.h>
#include <linux/fs.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/kernfs.h>
#include <linux/net.h>
#include <linux/tcp.h>
#include <net/inet_sock.h>
#include <net/sock.h>
#endif

/* Macros are not in the type information, so their values stand here (uapi: linux/if_ether.h, linux/socket.h). */
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define FAMILY_IPV4 2
#define FAMILY_IPV6 10
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_MPTCP 262

/* include/net/tcp_states.h */
#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT 2
#define STATE_SYN_RECV 3
#define STATE_CLOSE 7
#define STATE_LISTEN 10

/* The default of net.ipv4.ip_local_port_range: which side of a socket is the client where nothing else tells. */
#define EPHEMERAL_FIRST 32768
#define EPHEMERAL_LAST 60999

/* bpf_sk_lookup_tcp: of the packet (uapi/linux/bpf.h, BPF_F_CURRENT_NETNS). */
#define OWN_NAMESPACE (-1L)

/* linux/magic.h */
#define SOCKFS_MAGIC 0x534F434B

/* The v2 root: the owner of sockets that have no cgroup of their own. */
#define ROOT_CGROUP 1

enum transport { TRANSPORT_OTHER, TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_ICMP };
enum role { ROLE_UNKNOWN, ROLE_CLIENT, ROLE_SERVER };

/* Whose traffic with whom. IPv4 addresses are mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2), the port is the service side's
 * in host order. An address of zero stands for all peers that had no room of their own. */
struct flow_key {
	u64 cgroup_id;
	u32 address[4];
	u16 port;
	u8 transport;
	u8 pad[5];
};

/* Runs of a program, counted by itself; one run in TIMED_RUNS is timed, because the clock costs as much as a look-up. */
struct program_runs {
	u64 runs;
	u64 timed_runs;
	u64 timed_ns;
};

#define TIMED_RUNS 1024

/* Of x86-64 and of most arm64. */
#define CACHE_LINE 64

/* bpf_probe_read_kernel() under a name of our own: where BCC cannot look the helper up in /proc/kallsyms, as in a pod
 * with three capabilities, it writes the old bpf_probe_read() in its place, which packet programs may not call. */
static int (*copy_from_kernel)(void *destination, u32 size, const void *source) = (void *)BPF_FUNC_probe_read_kernel;

#define read_kernel(destination, pointer, type, member)                                                                \
	copy_from_kernel(&(destination), sizeof(destination), (void *)(pointer) + offsetof(type, member))

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif

/* One more in a member of a map's row, in one instruction. Of two branches that count in two members of a row the
 * compiler would make one with a variable offset, which the verifier refuses to a loader without PERFMON. */
#define count_in(row, type, member)                                                                                    \
	asm volatile("lock *(u64 *)(%0 + %1) += %2" ::"r"(row), "i"(offsetof(type, member)), "r"(1ULL) : "memory")

static inline u64 count_run(struct program_runs *runs)
{
	if (!runs)
		return 0;
	__sync_fetch_and_add(&runs->runs, 1);
	return runs->runs % TIMED_RUNS ? 0 : bpf_ktime_get_ns();
}

static inline void time_run(struct program_runs *runs, u64 start_ns)
{
	if (!start_ns || !runs)
		return;
	__sync_fetch_and_add(&runs->timed_runs, 1);
	__sync_fetch_and_add(&runs->timed_ns, bpf_ktime_get_ns() - start_ns);
}

static inline int is_ephemeral(u16 port)
{
	return port >= EPHEMERAL_FIRST && port <= EPHEMERAL_LAST;
}

static inline u16 service_port(u32 role, u16 local, u16 remote)
{
	if (role == ROLE_CLIENT)
		return remote;
	if (role == ROLE_SERVER)
		return local;
	if (!local || !remote)
		return local | remote;
	if (is_ephemeral(local) != is_ephemeral(remote))
		return is_ephemeral(local) ? remote : local;
	return local < remote ? local : remote;
}

static inline void set_ipv4(u32 *address, u32 ipv4)
{
	address[0] = 0;
	address[1] = 0;
	address[2] = bpf_htonl(0xffff);
	address[3] = ipv4;
}

static inline u32 transport_of(u32 protocol)
{
	if (protocol == PROTOCOL_TCP)
		return TRANSPORT_TCP;
	if (protocol == PROTOCOL_UDP)
		return TRANSPORT_UDP;
	if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6)
		return TRANSPORT_ICMP;
	return TRANSPORT_OTHER;
}

/* The row that takes what finds no room: same owner, transport and family, no peer. */
static inline void forget_peer(struct flow_key *key)
{
	u32 is_ipv4 = !key->address[0] && !key->address[1] && key->address[2] == bpf_htonl(0xffff);

	key->address[0] = 0;
	key->address[1] = 0;
	key->address[2] = is_ipv4 ? bpf_htonl(0xffff) : 0;
	key->address[3] = 0;
	key->port = 0;
}

/* Until 5.14 the pointer shared its word with the network class of cgroup v1, marked by the lowest bit
 * (8520e224f547, "bpf, cgroups: Fix cgroup v2 fallback on v1/v2 mixed mode"). */
static inline u64 socket_cgroup(struct sock *sk)
{
	u64 id = 0;
	void *cgroup = 0, *node = 0;

	read_kernel(cgroup, sk, struct sock, sk_cgrp_data);
	if (!cgroup || (u64)cgroup & 1)
		return ROOT_CGROUP;
	read_kernel(node, cgroup, struct cgroup, kn);
	if (node)
		read_kernel(id, node, struct kernfs_node, id);
	return id;
}

static inline u32 tcp_state_of(struct sock *sk)
{
	u8 state = 0;

	read_kernel(state, sk, struct sock, __sk_common.skc_state);
	return state;
}

/* The IP protocol of a socket of one of the two families, 0 of any other. */
static inline u32 internet_protocol(struct sock *sk)
{
	u16 family = 0;
	u16 protocol = 0;

	read_kernel(family, sk, struct sock, __sk_common.skc_family);
	read_kernel(protocol, sk, struct sock, sk_protocol);
	return family == FAMILY_IPV4 || family == FAMILY_IPV6 ? protocol : 0;
}

static inline u32 is_tcp(struct sock *sk)
{
	return internet_protocol(sk) == PROTOCOL_TCP;
}

/* The socket that a file is, null where it is none. bpf_sock_from_file does this from 5.11 on (4f19cab76136), with a
 * pointer that the verifier knows; this one is for reading. */
static inline struct sock *socket_behind(void *file)
{
	void *inode = 0, *super = 0, *socket = 0;
	struct sock *sk = 0;
	unsigned long magic = 0;

	read_kernel(inode, file, struct file, f_inode);
	read_kernel(super, inode, struct inode, i_sb);
	read_kernel(magic, super, struct super_block, s_magic);
	if (magic != SOCKFS_MAGIC)
		return 0;
	read_kernel(socket, file, struct file, private_data);
	read_kernel(sk, socket, struct socket, sk);
	return sk;
}

/* inet_sport outlives skc_num, which is 0 by the time a socket is closed. */
static inline u16 socket_local_port(struct sock *sk)
{
	u16 port = 0;

	read_kernel(port, sk, struct inet_sock, inet_sport);
	return bpf_ntohs(port);
}

static inline void flow_of_socket(struct flow_key *key, struct sock *sk, u32 role)
{
	u16 family = 0, remote = 0;
	u32 ipv4 = 0;

	key->cgroup_id = socket_cgroup(sk);
	key->transport = TRANSPORT_TCP;
	read_kernel(family, sk, struct sock, __sk_common.skc_family);
	read_kernel(remote, sk, struct sock, __sk_common.skc_dport);
	if (family == FAMILY_IPV4) {
		read_kernel(ipv4, sk, struct sock, __sk_common.skc_daddr);
		set_ipv4(key->address, ipv4);
	} else {
		read_kernel(key->address, sk, struct sock, __sk_common.skc_v6_daddr);
	}
	key->port = service_port(role, socket_local_port(sk), bpf_ntohs(remote));
}

#endif
