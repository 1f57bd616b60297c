// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Whose packet is this, and with whom?
 *
 * Hook:  one cgroup_skb program per direction on the cgroup v2 root; the fragments of the enabled collectors are put
 *        in below and called for each packet. 0.4 us a request for being there (both ends on one host), 0.4 to 0.6
 *        more for the row.
 * Owner: the cgroup that created the socket, also where the socket was passed on.
 * Peer:  from the socket, so that address translation behind it does not show; from the packet where the socket has
 *        none (listeners, unconnected UDP).
 * Blind: packets without a socket: TIME_WAIT's, resets of closed ports, ICMP of the kernel, forwarded packets.
 */
#include "net.h"

/* Where a packet can stand in others' way of parsing: more extension headers than this are not followed. */
#define MAX_EXTENSION_HEADERS 6

/* Of the eight rows that a cgroup can have (four transports in two families), more than four are in use only if it
 * talks ICMP and something exotic over both. */
#define MAX_OTHERS (4 * MAX_CGROUPS)

/* What is known of a TCP socket for as long as it lives. */
struct packet_socket {
	struct flow_key key;
	u64 started_ns;
	u8 role;
	u8 counted;
	u8 state; /* the last change of it that was counted */
	u8 pad[5];
	u64 key_line[CACHE_LINE / 8];
	u64 rtt_turn; /* written for each packet received, while the key is read for each sent */
};

/* A socket sends on one CPU and often receives on another: what is written by one of them and what is read by both, the
 * key in front, lie on cache lines of their own. That is worth a fifth of the programs' time. */
struct packet_flow {
	u64 key_line[CACHE_LINE / 8];
	u64 received_bytes;
	u64 received_packets;
	u64 received_more_segments; /* of super-packets: beyond one a packet */
	u64 received_line[CACHE_LINE / 8 - 3];
	u64 sent_bytes;
	u64 sent_packets;
	u64 sent_segments;
};

/* Seen is what the two programs have run for. */
struct packets_books {
	u64 map_full;
	u64 unparsed;
	u64 no_socket;
};

struct peers_books {
	u64 map_full;
	u64 unparsed;
	u64 no_socket;
};

/* What a fragment is told of a packet. flow is null where not even the owner's `other` row had room; socket is null
 * where the socket is no TCP connection, or the kernel had no memory for its storage. */
struct packet {
	struct bpf_sock *sk;
	struct packet_socket *socket;
	struct packet_flow *flow;
	struct flow_key *key;
	u32 length;
	u32 transport;
	u32 transport_offset;
	u32 segments;
	u32 ingress;
	u32 is_connection;
};

BPF_SK_STORAGE(sockets, struct packet_socket);
BPF_HASH(flows, struct flow_key, struct packet_flow, MAX_FLOWS);
BPF_HASH(flow_others, struct flow_key, struct packet_flow, MAX_OTHERS);
BPF_ARRAY(flow_zeros, struct packet_flow, 1); /* what a new row is made from: the stack has no room for one */
BPF_PERCPU_ARRAY(books_packets, struct packets_books, 1);
BPF_PERCPU_ARRAY(books_peers, struct peers_books, 1);
BPF_PERCPU_ARRAY(runs_on_ingress, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_egress, struct program_runs, 1);

/* The id last: another CPU that runs for the same socket takes it for the sign that the key is whole. */
static inline void remember(struct packet_socket *socket, struct flow_key *key)
{
	socket->key.address[0] = key->address[0];
	socket->key.address[1] = key->address[1];
	socket->key.address[2] = key->address[2];
	socket->key.address[3] = key->address[3];
	socket->key.port = key->port;
	socket->key.transport = key->transport;
	asm volatile("" ::: "memory");
	socket->key.cgroup_id = key->cgroup_id;
}

//! fragments

/* The header after the extension headers of IPv6 (RFC 8200 4): hop-by-hop, routing, fragment, destination options. */
static inline u8 skip_extensions(struct __sk_buff *skb, struct packet *p, u8 next)
{
	u8 extension[2] = {};

#pragma unroll
	for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, p->transport_offset, extension, 2) < 0)
			break;
		p->transport_offset += next == 44 ? 8 : (extension[1] + 1) * 8; /* a fragment's length is fixed */
		next = extension[0];
	}
	return next;
}

/* Sets length, segments, transport and where the transport header begins. The network header is in the linear part:
 * the IP layer has read or written it. */
static inline int parse_packet(struct __sk_buff *skb, struct packet *p)
{
	u8 *head = (u8 *)(long)skb->data;
	u8 *end = (u8 *)(long)skb->data_end;

	p->length = skb->len;
	p->segments = skb->gso_segs ? skb->gso_segs : 1;
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		if (head + 20 > end)
			return 0;
		p->transport_offset = (head[0] & 15) * 4;
		p->transport = transport_of(head[9]);
		return 1;
	}
	if (head + 40 > end)
		return 0;
	p->transport_offset = 40;
	p->transport = transport_of(skip_extensions(skb, p, head[6]));
	return 1;
}

static inline void peer_of_packet(struct __sk_buff *skb, struct flow_key *key, u32 ingress)
{
	u32 ipv4 = 0;

	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		bpf_skb_load_bytes(skb, ingress ? 12 : 16, &ipv4, 4);
		set_ipv4(key->address, ipv4);
	} else {
		bpf_skb_load_bytes(skb, ingress ? 8 : 24, key->address, 16);
	}
}

/* One load at a constant offset: the verifier refuses arithmetic on a socket's pointer, which the compiler would use. */
#define socket_word(sk, offset)                                                                                        \
	({                                                                                                             \
		u32 word;                                                                                              \
		asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(word) : "r"(sk), "i"(offset));                            \
		word;                                                                                                  \
	})

static inline void peer_of_socket(struct bpf_sock *sk, struct flow_key *key)
{
	if (sk->family == FAMILY_IPV4) {
		set_ipv4(key->address, socket_word(sk, offsetof(struct bpf_sock, dst_ip4)));
		return;
	}
	key->address[0] = socket_word(sk, offsetof(struct bpf_sock, dst_ip6[0]));
	key->address[1] = socket_word(sk, offsetof(struct bpf_sock, dst_ip6[1]));
	key->address[2] = socket_word(sk, offsetof(struct bpf_sock, dst_ip6[2]));
	key->address[3] = socket_word(sk, offsetof(struct bpf_sock, dst_ip6[3]));
}

/* Whether somebody listens on a connection's own port. A lookup from port 0, which no connection has, finds listeners
 * only. */
static inline u32 is_listened_on(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct bpf_sock_tuple tuple = {};
	u32 size = sizeof(tuple.ipv4), is_listening;
	struct bpf_sock *found;

	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		tuple.ipv4.daddr = socket_word(sk, offsetof(struct bpf_sock, src_ip4));
		tuple.ipv4.dport = bpf_htons(sk->src_port);
	} else {
		tuple.ipv6.daddr[0] = socket_word(sk, offsetof(struct bpf_sock, src_ip6[0]));
		tuple.ipv6.daddr[1] = socket_word(sk, offsetof(struct bpf_sock, src_ip6[1]));
		tuple.ipv6.daddr[2] = socket_word(sk, offsetof(struct bpf_sock, src_ip6[2]));
		tuple.ipv6.daddr[3] = socket_word(sk, offsetof(struct bpf_sock, src_ip6[3]));
		tuple.ipv6.dport = bpf_htons(sk->src_port);
		size = sizeof(tuple.ipv6);
	}
	found = bpf_sk_lookup_tcp(skb, &tuple, size, OWN_NAMESPACE, 0);
	if (!found)
		return 0;
	is_listening = found->state == STATE_LISTEN;
	bpf_sk_release(found);
	return is_listening;
}

/* Of a connection that nobody has seen begin: one from before the agent, or any that `connections` does not write into
 * the storage (without it, and before Linux 5.11). A listener may be gone that the ports still tell of. */
static inline u32 role_of(struct __sk_buff *skb, struct bpf_sock *sk)
{
	if (sk->state == STATE_SYN_SENT)
		return ROLE_CLIENT;
	if (is_listened_on(skb, sk))
		return ROLE_SERVER;
	return is_ephemeral(sk->src_port) == is_ephemeral(bpf_ntohs(sk->dst_port)) ? ROLE_CLIENT : ROLE_UNKNOWN;
}

/* The key of a packet whose socket does not have one in its storage. */
static inline void identify(struct __sk_buff *skb, struct packet *p, struct flow_key *key)
{
	struct bpf_sock *sk = p->sk;
	u16 ports[2] = {}, local = sk->src_port, remote = bpf_ntohs(sk->dst_port);
	u32 role = ROLE_UNKNOWN;
	u32 has_ports = p->transport == TRANSPORT_TCP || p->transport == TRANSPORT_UDP;

	key->cgroup_id = bpf_skb_cgroup_id(skb);
	key->transport = p->transport;
	if (has_ports && remote) {
		peer_of_socket(sk, key);
		if (p->is_connection)
			role = role_of(skb, sk);
	} else {
		peer_of_packet(skb, key, p->ingress);
		if (!has_ports)
			return;
		bpf_skb_load_bytes(skb, p->transport_offset, ports, 4);
		local = bpf_ntohs(p->ingress ? ports[1] : ports[0]);
		remote = bpf_ntohs(p->ingress ? ports[0] : ports[1]);
		if (sk->state == STATE_LISTEN && p->transport == TRANSPORT_TCP)
			role = ROLE_SERVER;
	}
	key->port = service_port(role, local, remote);
}

/* The storage of a TCP connection, made with its first packet unless the connection was seen to begin. */
static inline struct packet_socket *socket_of_packet(struct __sk_buff *skb, struct packet *p)
{
	struct packet_socket *socket;
	struct flow_key key = {};
	struct bpf_sock *sk;

	socket = sockets.sk_storage_get(p->sk, 0, 0);
	if (socket && socket->key.cgroup_id)
		return socket;
	sk = bpf_sk_fullsock(p->sk);
	if (!sk || sk->protocol != PROTOCOL_TCP) /* a raw socket may carry TCP as well */
		return 0;
	socket = sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket)
		return 0;
	identify(skb, p, &key);
	remember(socket, &key);
	return socket;
}

static inline void make_flow(struct packet *p, struct flow_key *folded)
{
	struct packets_books *packets;
	struct packet_flow *zeros;
	struct peers_books *peers;
	int row = 0;

	zeros = flow_zeros.lookup(&row);
	if (!zeros)
		return;
	p->flow = flows.lookup_or_try_init(p->key, zeros);
	if (p->flow)
		return;
	peers = books_peers.lookup(&row);
	if (peers)
		__sync_fetch_and_add(&peers->map_full, 1);
	*folded = *p->key;
	forget_peer(folded);
	p->key = folded;
	p->flow = flow_others.lookup_or_try_init(folded, zeros);
	if (p->flow)
		return;
	packets = books_packets.lookup(&row);
	if (packets)
		__sync_fetch_and_add(&packets->map_full, 1);
}

static inline void count_packet(struct packet *p)
{
	if (!p->flow)
		return;
	if (p->ingress)
		__sync_fetch_and_add(&p->flow->received_packets, 1);
	else
		__sync_fetch_and_add(&p->flow->sent_packets, 1);
}

/* Never seen to happen; both channels book it, so that they balance whatever comes. */
static inline void lose_packet(struct packet *p)
{
	struct packets_books *packets;
	struct peers_books *peers;
	int row = 0;

	packets = books_packets.lookup(&row);
	peers = books_peers.lookup(&row);
	if (!packets || !peers)
		return;
	if (p->sk) {
		count_in(packets, struct packets_books, unparsed);
		count_in(peers, struct peers_books, unparsed);
	} else {
		count_in(packets, struct packets_books, no_socket);
		count_in(peers, struct peers_books, no_socket);
	}
}

static inline void on_packet(struct __sk_buff *skb, u32 ingress)
{
	struct packet packet = {}, *p = &packet;
	struct flow_key key = {};

	p->sk = skb->sk;
	p->ingress = ingress;
	if (!p->sk || !parse_packet(skb, p)) {
		lose_packet(p);
		return;
	}
	p->is_connection = p->transport == TRANSPORT_TCP && p->sk->state != STATE_LISTEN;
	if (p->is_connection)
		p->socket = socket_of_packet(skb, p);
	if (p->socket) {
		p->key = &p->socket->key;
	} else {
		identify(skb, p, &key);
		p->key = &key;
	}
	p->flow = flows.lookup(p->key);
	if (!p->flow)
		make_flow(p, &key);
	count_packet(p);
	//! on_packet
}

int on_ingress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_ingress.lookup(&row);
	u64 start_ns = count_run(runs);

	on_packet(skb, 1);
	time_run(runs, start_ns);
	return 1;
}

int on_egress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_egress.lookup(&row);
	u64 start_ns = count_run(runs);

	on_packet(skb, 0);
	time_run(runs, start_ns);
	return 1;
}
