// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* A packet's way through the reader: on_packet_http() reads what is short; long heads and pipelines go on in programs
 * of their own.
 *
 * Hook:  fragment of packet.bpf.c, and tail calls from there on. Part of http.bpf.c.
 */

/* Buffers and messages that are read of a segment in the packet program, and in each call. The verifier walks each. */
#define HTTP_ROUNDS 2
#define HTTP_MORE_ROUNDS 4

/* Buffers and lines read in one call of requests that are only counted any more. The verifier walks each of them: of the
 * million instructions that it takes at most these are 0.6. With HTTP_CALLS it is enough for 64 KiB of requests of 26
 * bytes, the shortest with a Host, behind the HTTP_DEPTH that are kept. Verifiers before 6.8 walk nearly twice as many
 * for each: there it is enough for lines of 20 bytes. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define HTTP_SKIM_STEPS 128
#else
#define HTTP_SKIM_STEPS 192
#endif

/* Tail calls for a segment: of the 33 that the kernel allows one is the request log's. */
#define HTTP_CALLS 31

/* Returns 1 if there is more to read. */
static inline u32 go_rounds(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
			    u32 ingress, u32 rounds)
{
	volatile struct http_direction *d = &socket->directions[ingress], *other = &socket->directions[!ingress];
	volatile struct http_buffer *b = buffer;

	for (u32 round = 0; round < rounds; round++) {
		HTTP_FORGET(round); /* as in skim_on() */
		if (!http_round(skb, buffer, socket, d, other, ingress))
			break;
	}
	if (d->body && !d->is_open)
		skip_body(b, d);
	return !b->is_over && (b->left || b->at < b->end);
}

static inline void finish(struct http_buffer *buffer, volatile struct http_socket *socket, u32 ingress)
{
	volatile struct http_direction *d = &socket->directions[ingress];

	keep_rest(buffer, d);
	go_on(d, buffer->finish);
	if (d->lost && !socket->role)
		miss(socket, ingress);
	count_answers(buffer, socket);
	count_bodies(buffer, socket, d);
	__sync_fetch_and_add(&buffer->in_use, -1);
	leave_direction(d);
}

/* What is left of the segment, by a call of the next program: returns where it cannot be called. */
static inline void call_on(struct __sk_buff *skb, volatile struct http_buffer *b, volatile struct http_socket *socket,
			   volatile struct http_direction *d, u32 ingress)
{
	u32 calls = b->calls;

	if (calls >= HTTP_CALLS)
		return;
	b->calls = calls + 1;
	if (is_skimmed(socket, d, ingress)) {
		if (ingress)
			http_skim_ingress.call(skb, 0);
		else
			http_skim_egress.call(skb, 0);
	}
	if (ingress)
		http_ingress.call(skb, 0);
	else
		http_egress.call(skb, 0);
}

#if HTTP_KEEPS_COPIES
/* While this copies, another CPU may have seen the last answer, and have removed what is put there now. */
static inline void keep_copy(struct __sk_buff *skb, struct http_socket *socket)
{
	u64 cookie;

	if (socket->first == socket->next && !socket->beyond && !socket->has_copy)
		return;
	cookie = bpf_get_socket_cookie(skb);
	if (socket->first != socket->next || socket->beyond) {
		socket->has_copy = 1;
		if (http_copies.update(&cookie, socket)) {
			lose_requests(0, socket->next - socket->first + socket->beyond, 0);
			socket->first = socket->next;
			socket->beyond = 0;
			socket->is_hopeless = 1;
		}
	}
	if (*(volatile u32 *)&socket->first == *(volatile u32 *)&socket->next && !socket->beyond) {
		http_copies.delete(&cookie);
		socket->has_copy = 0;
	}
}

/* Connected again, a socket has its storage still, and nothing has told that of the end. */
static inline void forget_socket(struct packet *p)
{
	struct bpf_sock *sk = bpf_sk_fullsock(p->sk);

	if (sk)
		http_sockets.sk_storage_delete(sk);
}
#else
#define keep_copy(skb, socket)
#define forget_socket(p)
#endif

/* As follow(), from where that left off: each call reads HTTP_MORE_ROUNDS more, and the kernel allows for 33 calls. */
static inline void follow_on(struct __sk_buff *skb, u32 ingress)
{
	u32 level = skb->cb[0];
	struct bpf_sock *sk = skb->sk;
	struct http_buffer *buffer;
	struct http_socket *socket;

	if (!sk || level >= HTTP_LEVELS)
		return;
	buffer = http_buffers.lookup(&level);
	socket = http_sockets.sk_storage_get(sk, 0, 0);
	if (!buffer || !socket)
		return;
	if (go_rounds(skb, buffer, socket, ingress, HTTP_MORE_ROUNDS)) {
		call_on(skb, buffer, socket, &socket->directions[ingress], ingress);
		lose_place(&socket->directions[ingress], HTTP_PASSED);
	}
	log_segment(skb, buffer, socket, ingress);
	finish(buffer, socket, ingress);
	keep_copy(skb, socket);
}

/* As follow_on(), but a pipeline's requests beyond those that are kept are only counted, many in a call. */
static inline void skim_on(struct __sk_buff *skb, u32 ingress)
{
	volatile struct http_direction *d, *other;
	volatile struct http_buffer *b;
	u32 level = skb->cb[0];
	struct bpf_sock *sk = skb->sk;
	struct http_buffer *buffer;
	struct http_socket *socket;

	if (!sk || level >= HTTP_LEVELS)
		return;
	buffer = http_buffers.lookup(&level);
	socket = http_sockets.sk_storage_get(sk, 0, 0);
	if (!buffer || !socket)
		return;
	b = buffer;
	d = &socket->directions[ingress];
	other = &socket->directions[!ingress];
	for (u32 step = 0; step < HTTP_SKIM_STEPS; step++) {
		HTTP_FORGET(step); /* else the loop is closed by no jump, which old verifiers refuse: "back-edge" */
		if (!skim(skb, buffer, socket, d, other))
			break;
	}
	if (!b->is_over && (b->left || b->at < b->end || b->length_at)) {
		call_on(skb, buffer, socket, d, ingress);
		lose_place(d, HTTP_PASSED);
	}
	log_segment(skb, buffer, socket, ingress);
	finish(buffer, socket, ingress);
	keep_copy(skb, socket);
}

int on_http_ingress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_ingress.lookup(&row);
	u64 start_ns = count_run(runs);

	follow_on(skb, 1);
	time_run(runs, start_ns);
	return 1;
}

int on_http_egress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_egress.lookup(&row);
	u64 start_ns = count_run(runs);

	follow_on(skb, 0);
	time_run(runs, start_ns);
	return 1;
}

int on_http_skim_ingress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_skim_ingress.lookup(&row);
	u64 start_ns = count_run(runs);

	skim_on(skb, 1);
	time_run(runs, start_ns);
	return 1;
}

int on_http_skim_egress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_skim_egress.lookup(&row);
	u64 start_ns = count_run(runs);

	skim_on(skb, 0);
	time_run(runs, start_ns);
	return 1;
}

static inline void follow(struct __sk_buff *skb, struct packet *p, struct http_socket *socket, u32 start, u32 offset)
{
	u32 ingress = p->ingress, length = p->length - offset, end = start + length, passed = 0;
	volatile struct http_direction *d = &socket->directions[ingress];
	struct http_buffer *buffer;

	if (socket->is_hopeless && socket->role == (ingress ? HTTP_CLIENT : HTTP_SERVER))
		return;
	if (!take_direction(d))
		return;
	if (!is_new(p, socket, d, start, end, &passed)) {
		leave_direction(d);
		return;
	}
	buffer = take_buffer();
	if (!buffer) {
		d->position = end;
		lose_place(d, HTTP_PASSED);
		leave_direction(d);
		return;
	}
	begin_buffer(buffer, d, offset + passed, length - passed,
		     !socket->is_pipelined && socket->role == (ingress ? HTTP_CLIENT : HTTP_SERVER));
	buffer->finish = end;
	log_more(skb, p, buffer, d);
	if (go_rounds(skb, buffer, socket, ingress, HTTP_ROUNDS)) {
		skb->cb[0] = buffer->level;
		if (p->is_connection && ingress)
			http_ingress.call(skb, 0);
		else if (p->is_connection)
			http_egress.call(skb, 0);
		lose_place(d, HTTP_PASSED);
	}
	log_segment(skb, buffer, socket, ingress);
	finish(buffer, socket, ingress);
}

static inline void on_packet_http(struct __sk_buff *skb, struct packet *p)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
	u32 start = 0, offset = p->transport_offset, is_syn;
	struct http_socket *socket;
	u8 header[2] = {};

	if (p->transport != TRANSPORT_TCP || (!p->is_connection && !p->ingress))
		return;
	if (offset == 20 && data + 40 <= end) {
		header[0] = data[32];
		header[1] = data[33];
		start = *(u32 *)(data + 24);
	} else if (bpf_skb_load_bytes(skb, offset + 12, header, 2) < 0 ||
		   bpf_skb_load_bytes(skb, offset + 4, &start, 4) < 0) {
		return;
	}
	is_syn = header[1] >> 1 & 1;
	offset += (header[0] >> 4) * 4;
	if (!p->ingress && is_syn)
		forget_socket(p);
	if (offset >= p->length)
		return;
	start = bpf_ntohl(start) + is_syn; /* a SYN stands for one */
	if (!p->is_connection) {
		socket = make_early(skb, p, start, start + p->length - offset);
	} else {
		socket = http_sockets.sk_storage_get(p->sk, 0, 0);
		if (!socket || socket->has_ended)
			socket = make_http_socket(skb, p);
	}
	if (!socket || socket->is_off)
		return;
	follow(skb, p, socket, start, offset);
	if (p->is_connection)
		keep_copy(skb, socket);
}
