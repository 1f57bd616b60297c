// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* With what does a connection begin? Its state is made with the first payload. One that comes with the handshake's last
 * packet is shown to the listener's socket, and handed over to the connection's by both ends' addresses.
 *
 * Hook:  none of its own. Part of http.bpf.c.
 */

/* Both ends of a packet that came in to a listener. */
static inline void pair_of_packet(struct __sk_buff *skb, struct packet *p, struct http_pair *pair)
{
	u32 ipv4[2] = {};
	u16 ports[2] = {};

	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		bpf_skb_load_bytes(skb, 12, ipv4, 8);
		set_ipv4(pair->remote, ipv4[0]);
		set_ipv4(pair->local, ipv4[1]);
	} else {
		bpf_skb_load_bytes(skb, 8, pair->remote, 16);
		bpf_skb_load_bytes(skb, 24, pair->local, 16);
	}
	bpf_skb_load_bytes(skb, p->transport_offset, ports, 4);
	pair->remote_port = ports[0];
	pair->local_port = ports[1];
}

/* The same of a packet of a connection, which may go in either direction. */
static inline void pair_of_connection(struct __sk_buff *skb, struct packet *p, struct http_pair *pair)
{
	struct http_pair other = {};

	pair_of_packet(skb, p, pair);
	if (p->ingress)
		return;
	other = *pair;
	__builtin_memcpy(pair->remote, other.local, 16);
	__builtin_memcpy(pair->local, other.remote, 16);
	pair->remote_port = other.local_port;
	pair->local_port = other.remote_port;
}

static inline struct http_socket *make_early(struct __sk_buff *skb, struct packet *p, u32 start, u32 end)
{
	struct http_buffer *buffer;
	struct http_socket *socket;
	struct http_pair pair = {};

	pair_of_packet(skb, p, &pair);
	socket = http_early.lookup(&pair);
	if (socket && start - socket->directions[1].position <= end - start)
		return socket;
	buffer = take_buffer();
	if (!buffer)
		return 0;
	__builtin_memset(&buffer->early, 0, sizeof(buffer->early));
	buffer->early.cgroup_id = p->key->cgroup_id;
	buffer->early.directions[0].position = start; /* until it is handed over */
	buffer->early.directions[1].position = start;
	buffer->early.directions[1].is_guess = HTTP_UNKNOWN_END;
	http_early.update(&pair, &buffer->early);
	__sync_fetch_and_add(&buffer->in_use, -1);
	return http_early.lookup(&pair);
}

/* The two programs are attached one after the other: what only one of them sees would look like pipelining. */
static inline u32 are_both_attached(void)
{
	u32 row = 0;

	return http_attached.lookup(&row) != 0;
}

/* What came with the handshake's last packet, unless that was another part than the first. */
static inline void take_over(struct __sk_buff *skb, struct packet *p, struct http_socket *socket, u32 next,
			     u64 received)
{
	struct http_socket *early;
	struct http_pair pair = {};
	u32 first = next - (u32)received, from, to;

	pair_of_connection(skb, p, &pair);
	early = http_early.lookup(&pair);
	if (!early)
		return;
	from = early->directions[0].position;
	to = early->directions[1].position;
	if (from == first) {
		__builtin_memcpy(socket, early, sizeof(*socket));
		socket->directions[1].readers = 0;
	} else if (received) {
		socket->directions[1].lost = HTTP_PASSED;
	} else {
		socket->directions[1].ahead_from = from;
		socket->directions[1].ahead_to = to;
	}
	http_early.delete(&pair);
}

/* Made with a connection's first payload. Sequence numbers begin at what the kernel has next, in both directions. */
static inline struct http_socket *make_http_socket(struct __sk_buff *skb, struct packet *p)
{
	struct http_socket *socket;
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *sk;

	if (!are_both_attached())
		return 0;
	sk = bpf_sk_fullsock(p->sk);
	if (!sk || sk->protocol != PROTOCOL_TCP || sk->state == STATE_CLOSE)
		return 0;
	tcp = bpf_tcp_sock(sk);
	socket = http_sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (socket && socket->has_ended) {
		http_sockets.sk_storage_delete(sk);
		socket = http_sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	}
	if (!socket || !tcp)
		return 0;
	socket->directions[1].position = tcp->rcv_nxt;
	socket->directions[1].lost = tcp->bytes_received ? HTTP_UNKNOWN_END : HTTP_NOT_LOST;
	take_over(skb, p, socket, tcp->rcv_nxt, tcp->bytes_received);
	if (!socket->role)
		socket->directions[0].lost = tcp->snd_nxt != tcp->snd_una || tcp->bytes_acked > 1; /* a SYN counts */
	socket->directions[0].position = tcp->snd_nxt;
	socket->cgroup_id = p->key->cgroup_id;
	socket->flow = p->socket ? p->socket->key : *p->key;
	return socket;
}
