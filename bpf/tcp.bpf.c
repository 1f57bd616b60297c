// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How healthy is each workload's TCP: segments, what is sent again, resets, round-trip time?
 *
 * Hook:  fragment of packet.bpf.c; tcp_retransmit_synack for handshakes, which are resent by no socket of their own.
 * Counts: by the kernel's own rule (net/ipv4/tcp_output.c, __tcp_transmit_skb): a segment is new if it goes beyond
 *        snd_nxt or carries no sequence space; everything else is sent again. Segments, not super-packets.
 * RTT:   the kernel's smoothed estimate: the first one of a connection, then one in sixteen packets received, and the
 *        one in force when the FIN or a reset leaves.
 * Blind: as packet.bpf.c: resets from closed ports have no socket.
 */

/* A sample costs a histogram update; srtt itself averages over eight measurements. */
#define RTT_EVERY 16

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4

struct tcp_head {
	u16 source;
	u16 destination;
	u32 sequence;
	u32 acknowledged;
	u8 offset;
	u8 flags;
	u16 window;
};

struct tcp_flow {
	u64 events;
	u64 retransmitted_segments;
	u64 resets_received;
	u64 resets_sent;
	u64 rtt_total_ns;
	u64 rtt_samples;
};

struct tcp_rtts {
	u64 buckets[RTT_SECONDS_BUCKETS];
	u64 total_ns;
};

struct tcp_events_books {
	u64 seen;
	u64 map_full;
};

struct rtts_books {
	u64 seen;
	u64 map_full;
};

BPF_HASH(tcp_flows, struct flow_key, struct tcp_flow, MAX_FLOWS);
BPF_HASH(tcp_others, struct flow_key, struct tcp_flow, 2 * MAX_CGROUPS); /* two families */
BPF_HASH(tcp_rtts, u64, struct tcp_rtts, MAX_CGROUPS);
BPF_ARRAY(rtt_zeros, struct tcp_rtts, 1); /* what a new row is made from: the stack has no room for one */
BPF_PERCPU_ARRAY(books_tcp_events, struct tcp_events_books, 1);
BPF_PERCPU_ARRAY(books_rtts, struct rtts_books, 1);
BPF_PERCPU_ARRAY(runs_on_synack_retransmit, struct program_runs, 1);

/* A row for a rare event; null where neither the peer nor its owner has room, which is counted. */
static inline struct tcp_flow *tcp_flow_of(struct flow_key *key)
{
	struct tcp_flow zero = {}, *flow;
	struct tcp_events_books *books;
	struct flow_key other;
	int row = 0;

	books = books_tcp_events.lookup(&row);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	flow = tcp_flows.lookup_or_try_init(key, &zero);
	if (!flow) {
		other = *key;
		forget_peer(&other);
		flow = tcp_others.lookup_or_try_init(&other, &zero);
	}
	if (flow)
		__sync_fetch_and_add(&flow->events, 1);
	else if (books)
		__sync_fetch_and_add(&books->map_full, 1);
	return flow;
}

static inline void count_rtt(struct packet *p, u64 rtt_ns)
{
	struct tcp_flow *flow = tcp_flow_of(p->key);
	struct tcp_rtts *rtts, *zeros = 0;
	struct rtts_books *books;
	u32 bucket = rtt_seconds_bucket(rtt_ns);
	int row = 0;

	if (flow) {
		__sync_fetch_and_add(&flow->rtt_total_ns, rtt_ns);
		__sync_fetch_and_add(&flow->rtt_samples, 1);
	}
	books = books_rtts.lookup(&row);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	rtts = tcp_rtts.lookup(&p->key->cgroup_id);
	if (!rtts)
		zeros = rtt_zeros.lookup(&row);
	if (!rtts && zeros)
		rtts = tcp_rtts.lookup_or_try_init(&p->key->cgroup_id, zeros);
	if (!rtts || bucket >= RTT_SECONDS_BUCKETS) {
		if (books)
			__sync_fetch_and_add(&books->map_full, 1);
		return;
	}
	__sync_fetch_and_add(&rtts->buckets[bucket], 1);
	__sync_fetch_and_add(&rtts->total_ns, rtt_ns);
}

/* Most headers lie in the linear part behind 20 or 40 bytes: reading them there is a third of a call's price. */
static inline int read_head(struct __sk_buff *skb, struct packet *p, struct tcp_head *head)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

	if (p->transport_offset == 20 && data + 20 + sizeof(*head) <= end) {
		__builtin_memcpy(head, data + 20, sizeof(*head));
		return 0;
	}
	return bpf_skb_load_bytes(skb, p->transport_offset, head, sizeof(*head));
}

/* The kernel's smoothed round-trip time, which it stores as eight times the microseconds; 0 while there is none. */
static inline u64 rtt_of(struct bpf_tcp_sock *tcp)
{
	return tcp ? (u64)tcp->srtt_us * 125 : 0;
}

static inline void on_segment_received(struct packet *p, struct tcp_head *head)
{
	struct tcp_flow *flow;
	u64 rtt_ns;

	if (p->segments > 1)
		__sync_fetch_and_add(&p->flow->received_more_segments, p->segments - 1);
	if (head->flags & TCP_RST) {
		flow = tcp_flow_of(p->key);
		if (flow)
			__sync_fetch_and_add(&flow->resets_received, 1);
	}
	if (!p->socket)
		return;
	if (p->socket->rtt_turn) {
		p->socket->rtt_turn--;
		return;
	}
	rtt_ns = rtt_of(bpf_tcp_sock(p->sk));
	if (!rtt_ns)
		return;
	p->socket->rtt_turn = RTT_EVERY - 1;
	count_rtt(p, rtt_ns);
}

static inline void on_segment_sent(struct packet *p, struct tcp_head *head)
{
	u32 start = bpf_ntohl(head->sequence), end = start + p->length - p->transport_offset - (head->offset >> 4) * 4;
	u32 is_last = head->flags & (TCP_FIN | TCP_RST), again = 0;
	struct bpf_tcp_sock *tcp = 0;
	struct tcp_flow *flow;
	u64 rtt_ns;

	end += !!(head->flags & TCP_SYN) + !!(head->flags & TCP_FIN);
	if (p->is_connection && (end != start || is_last))
		tcp = bpf_tcp_sock(p->sk);
	if (tcp && end != start)
		again = (s32)(end - tcp->snd_nxt) <= 0;
	if (!again)
		__sync_fetch_and_add(&p->flow->sent_segments, p->segments);
	if (again || head->flags & TCP_RST) {
		flow = tcp_flow_of(p->key);
		if (flow && again)
			__sync_fetch_and_add(&flow->retransmitted_segments, p->segments);
		if (flow && head->flags & TCP_RST)
			__sync_fetch_and_add(&flow->resets_sent, 1);
	}
	rtt_ns = is_last && !again ? rtt_of(tcp) : 0;
	if (rtt_ns)
		count_rtt(p, rtt_ns);
}

static inline void on_packet_tcp(struct __sk_buff *skb, struct packet *p)
{
	struct tcp_head head;

	if (p->transport != TRANSPORT_TCP || !p->flow || read_head(skb, p, &head) < 0)
		return;
	if (p->ingress)
		on_segment_received(p, &head);
	else
		on_segment_sent(p, &head);
}

/* A SYN-ACK is sent by a request, not by a socket; the listener owns it (5.10: tcp_rtx_synack in tcp_output.c). */
int on_synack_retransmit(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *listener = (struct sock *)ctx->args[0];
	void *request = (void *)ctx->args[1];
	struct flow_key key = {};
	struct tcp_flow *flow;
	u16 family = 0;
	u32 ipv4 = 0;
	int row = 0;
	struct program_runs *runs = runs_on_synack_retransmit.lookup(&row);
	u64 start_ns = count_run(runs);

	key.cgroup_id = socket_cgroup(listener);
	key.transport = TRANSPORT_TCP;
	key.port = socket_local_port(listener);
	read_kernel(family, request, struct sock, __sk_common.skc_family);
	if (family == FAMILY_IPV4) {
		read_kernel(ipv4, request, struct sock, __sk_common.skc_daddr);
		set_ipv4(key.address, ipv4);
	} else {
		read_kernel(key.address, request, struct sock, __sk_common.skc_v6_daddr);
	}
	flow = tcp_flow_of(&key);
	if (flow)
		__sync_fetch_and_add(&flow->retransmitted_segments, 1);
	time_run(runs, start_ns);
	return 0;
}
