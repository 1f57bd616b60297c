// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which requests were they, one by one: what was asked for, of whom, what came of it?
 *
 * Hook:  none of its own: http.bpf.c calls where a request's head begins and goes on, and where its answer or its
 *        socket's end comes. Where something is to be kept or told, a segment's work ends here, by a tail call. Without
 *        this none of it is compiled.
 * Tells: a record a request that its workload's mode asks for, in a ring buffer that wakes nobody: those that http.bpf.c
 *        counts, and no others.
 * Owner: the socket's cgroup.
 * Blind: what http.bpf.c has lost; of a head what is beyond HTTP_HEAD bytes.
 */
#ifndef WITH_HTTP
#error "http_log is a part of http: switch http on as well"
#endif

/* Of a request's head: most lines with a path are shorter than 200 bytes, and Host is commonly the next one. */
#define HTTP_HEAD 384

/* A head that goes on in further segments is read in pieces of this size, the last of which may go beyond HTTP_HEAD. */
#define HTTP_PIECE 64

/* 8 MiB hold 29,000 records of heads of 150 bytes: 5,800 a second where the kernel is read every five seconds. */
#define HTTP_LOG_RING_PAGES 2048

/* Heads of requests that wait for their answer, and of connections that were the last to have one: 2.5 MiB. */
#define MAX_HTTP_HEADS 4096

#define NANOSECONDS 1000000000ULL

/* In the order of agent.collectors.http_log.MODES. */
enum http_log_choice { HTTP_LOG_OFF, HTTP_LOG_ERRORS, HTTP_LOG_SAMPLED, HTTP_LOG_ALL };

/* Of a cgroup, written by user space; that of cgroup 0 is of all others, and until there is one the constants are. */
struct http_log_mode {
	u64 choice;
	u64 one_in;
	u64 slow_ns;
	u64 per_second;
};

/* Addresses as in struct flow_key, ports in host order. Sent up to the head's last byte. `bytes` begin with what was
 * carried over from the segment before, the last `carried` of HTTP_CARRY; the other `length` follow. */
struct http_log_record {
	u64 started_ns;
	u64 duration_ns;
	u64 cgroup_id;
	u32 local_address[4];
	u32 remote_address[4];
	u16 local_port;
	u16 remote_port;
	u16 status;
	u16 length;
	u8 method;
	u8 role;
	u8 error;
	u8 carried;
	u8 pad[4];
	u8 bytes[HTTP_CARRY + HTTP_HEAD + HTTP_PIECE];
};

/* number: of a socket; place: which of its open requests. */
struct http_head_key {
	u64 number;
	u64 place;
};

/* A run's own: the mode of the cgroup, and a record for a request whose head is not kept. */
struct http_log_scratch {
	struct http_log_mode mode;
	struct http_log_record record;
};

/* What a workload has had: requests that sampling chose from, and records in the second. */
struct http_log_share {
	u64 sampled;
	u64 second;
	u64 records;
};

struct http_log_books {
	u64 seen;
	u64 rate_limit;
	u64 ring_full;
};

/* Of the records in the ring. */
struct http_log_heads_books {
	u64 seen;
	u64 not_kept;
};

BPF_RINGBUF_OUTPUT(http_log, HTTP_LOG_RING_PAGES);
BPF_HASH(http_log_modes, u64, struct http_log_mode, MAX_CGROUPS + 1);
/* A share that is forgotten begins anew: a sampling's turn later, a second's records more. */
BPF_TABLE("lru_hash", u64, struct http_log_share, http_log_shares, MAX_CGROUPS);
/* What is forgotten is logged without its head, and counted. */
BPF_TABLE("lru_hash", struct http_head_key, struct http_log_record, http_heads, MAX_HTTP_HEADS);
BPF_PERCPU_ARRAY(http_log_scratches, struct http_log_scratch, HTTP_LEVELS);
BPF_PROG_ARRAY(http_log_ingress, 1); /* as http_ingress */
BPF_PROG_ARRAY(http_log_egress, 1);
BPF_PERCPU_ARRAY(runs_on_http_log_ingress, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_http_log_egress, struct program_runs, 1);
BPF_PERCPU_ARRAY(books_http_log, struct http_log_books, 1);
BPF_PERCPU_ARRAY(books_http_log_heads, struct http_log_heads_books, 1);

/* Returns what was there before. It is an instruction of Linux 5.12 (5ca419f2864a, "bpf: Add BPF_FETCH field / create
 * atomic_fetch_add instruction") for which the compiler has no word in the dialect that BCC asks for, so it is written
 * out: opcode, both registers by their numbers, offset, BPF_ADD | BPF_FETCH. */
static inline u64 add_one(u64 *count)
{
	u64 one = 1;

	asm volatile(".set in_r0, 0; .set in_r1, 1; .set in_r2, 2; .set in_r3, 3; .set in_r4, 4\n\t"
		     ".set in_r5, 5; .set in_r6, 6; .set in_r7, 7; .set in_r8, 8; .set in_r9, 9\n\t"
		     ".byte 0xdb, (in_%0 << 4) + in_%1, 0, 0, 1, 0, 0, 0"
		     : "+r"(one)
		     : "r"(count)
		     : "memory");
	return one;
}

static inline struct http_log_mode *log_mode(u64 cgroup_id)
{
	struct http_log_mode *mode = http_log_modes.lookup(&cgroup_id);
	u64 others = 0;

	return mode ? mode : http_log_modes.lookup(&others);
}

static inline u32 is_logged(u64 cgroup_id)
{
	struct http_log_mode *mode = log_mode(cgroup_id);

	return mode ? mode->choice != HTTP_LOG_OFF : HTTP_LOG_DEFAULT != HTTP_LOG_OFF;
}

/* What this run works with; null where the workload's requests are not logged. */
static inline struct http_log_scratch *log_scratch(u32 level, u64 cgroup_id)
{
	struct http_log_scratch *scratch;
	struct http_log_mode *mode;

	scratch = http_log_scratches.lookup(&level);
	if (!scratch)
		return 0;
	scratch->mode.choice = HTTP_LOG_DEFAULT;
	scratch->mode.one_in = HTTP_LOG_ONE_IN;
	scratch->mode.slow_ns = HTTP_LOG_SLOW_NS;
	scratch->mode.per_second = HTTP_LOG_PER_SECOND;
	mode = log_mode(cgroup_id);
	if (mode)
		scratch->mode = *mode;
	return scratch->mode.choice == HTTP_LOG_OFF ? 0 : scratch;
}

/* The first line of a request is there, or so much of it that its beginning leaves the buffer. The place where its head
 * will be kept is one that no open request has: they have consecutive ones. What finds no place is not counted either,
 * but as lost. */
static inline void log_begin(volatile struct http_buffer *b, volatile struct http_socket *socket,
			     volatile struct http_direction *d)
{
	u32 waiting = socket->next - socket->first, place = 1, row = b->heads;

	d->head = 0;
	if (waiting >= HTTP_DEPTH || row >= HTTP_DEPTH || socket->beyond || socket->is_hopeless)
		return;
	if (waiting)
		place = socket->last_head % HTTP_DEPTH + 1;
	socket->last_head = place;
	d->head = place;
	row %= HTTP_DEPTH;
	b->begun[row].started_ns = d->started_ns;
	b->begun[row].offset = b->offset - b->end + b->line;
	b->begun[row].head = place;
	b->heads = row + 1;
}

/* One that is there already is written over: most connections have one request after the other. */
static inline struct http_log_record *make_head(struct http_head_key *key, struct http_log_scratch *scratch)
{
	struct http_log_record *record = http_heads.lookup(key);

	if (record)
		return record;
	http_heads.update(key, &scratch->record);
	return http_heads.lookup(key);
}

static inline void keep_head(struct __sk_buff *skb, volatile struct http_buffer *b, volatile struct http_socket *socket,
			     volatile struct http_direction *d, struct http_log_scratch *scratch, u32 row)
{
	volatile u64 *from = (volatile u64 *)d->carry, *to;
	u32 offset = b->begun[row].offset, payload = b->payload;
	struct http_log_record *record;
	struct http_head_key key = {};
	u64 length;

	key.number = socket->log_number;
	key.place = b->begun[row].head;
	record = make_head(&key, scratch);
	if (!record)
		return;
	record->started_ns = b->begun[row].started_ns;
	record->carried = 0;
	record->length = 0;
	if ((s32)(payload - offset) > 0) { /* it may lie before the packet's own first byte */
		to = (volatile u64 *)record->bytes;
#pragma unroll
		for (int word = 0; word < HTTP_CARRY / 8; word++)
			to[word] = from[word];
		record->carried = payload - offset;
		offset = payload;
	}
	length = skb->len - offset;
	if (length > HTTP_HEAD)
		length = HTTP_HEAD;
	if (!is_length(length, HTTP_HEAD))
		return;
	if (bpf_skb_load_bytes(skb, offset, record->bytes + HTTP_CARRY, length) == 0)
		record->length = length;
}

static inline void log_heads(struct __sk_buff *skb, volatile struct http_buffer *b, volatile struct http_socket *socket,
			     volatile struct http_direction *d, struct http_log_scratch *scratch)
{
	u32 heads = b->heads;

	if (!socket->log_number) /* no cookie: what comes with a handshake's last packet has that of the listener */
		socket->log_number = b->now_ns << 10 | (bpf_get_smp_processor_id() & 1023);
	for (u32 turn = 0; turn < HTTP_DEPTH; turn++) {
		u32 row = turn;

		HTTP_FORGET(heads);
		if (turn >= heads)
			break;
		HTTP_FORGET(row);
		keep_head(skb, b, socket, d, scratch, row % HTTP_DEPTH);
	}
}

/* Asked before the segment is read: does it go on with a head that is not complete? */
static inline void log_more(struct __sk_buff *skb, struct packet *p, struct http_buffer *buffer,
			    volatile struct http_direction *d)
{
	volatile struct http_buffer *b = buffer;

	b->is_early = !p->is_connection;
	if (b->is_early)
		pair_of_packet(skb, p, &buffer->pair);
	b->more = 0;
	if (d->head && (d->state == HTTP_IN_HEAD || (d->state == HTTP_AT_START && d->long_line)))
		b->more = d->head;
}

static inline void keep_more(struct __sk_buff *skb, volatile struct http_buffer *b, volatile struct http_socket *socket)
{
	struct http_log_record *record;
	struct http_head_key key = {};
	u32 offset = b->payload;
	u64 piece, have;

	key.number = socket->log_number;
	key.place = b->more;
	record = http_heads.lookup(&key);
	if (!record)
		return;
	for (u32 step = 0; step < HTTP_HEAD / HTTP_PIECE; step++) {
		have = record->length;
		piece = skb->len - offset;
		if (piece > HTTP_PIECE)
			piece = HTTP_PIECE;
		HTTP_FORGET(have);
		if (have >= HTTP_HEAD || !is_length(piece, HTTP_PIECE))
			break;
		if (bpf_skb_load_bytes(skb, offset, record->bytes + HTTP_CARRY + have, piece) < 0)
			break;
		record->length = have + piece;
		offset += piece;
	}
}

/* One load at a constant offset, as socket_word() in packet.bpf.c. */
#define log_word(sk, offset)                                                                                           \
	({                                                                                                             \
		u32 word;                                                                                              \
		asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(word) : "r"(sk), "i"(offset));                            \
		word;                                                                                                  \
	})

static inline void ends_of_packet(struct http_log_record *record, struct bpf_sock *sk)
{
	record->local_port = sk->src_port;
	record->remote_port = bpf_ntohs(sk->dst_port);
	if (sk->family == FAMILY_IPV4) {
		set_ipv4(record->local_address, log_word(sk, offsetof(struct bpf_sock, src_ip4)));
		set_ipv4(record->remote_address, log_word(sk, offsetof(struct bpf_sock, dst_ip4)));
		return;
	}
	record->local_address[0] = log_word(sk, offsetof(struct bpf_sock, src_ip6[0]));
	record->local_address[1] = log_word(sk, offsetof(struct bpf_sock, src_ip6[1]));
	record->local_address[2] = log_word(sk, offsetof(struct bpf_sock, src_ip6[2]));
	record->local_address[3] = log_word(sk, offsetof(struct bpf_sock, src_ip6[3]));
	record->remote_address[0] = log_word(sk, offsetof(struct bpf_sock, dst_ip6[0]));
	record->remote_address[1] = log_word(sk, offsetof(struct bpf_sock, dst_ip6[1]));
	record->remote_address[2] = log_word(sk, offsetof(struct bpf_sock, dst_ip6[2]));
	record->remote_address[3] = log_word(sk, offsetof(struct bpf_sock, dst_ip6[3]));
}

static inline void ends_of_socket(struct http_log_record *record, struct sock *sk)
{
	u32 local = 0, remote = 0;
	u16 family = 0, port = 0;

	read_kernel(family, sk, struct sock, __sk_common.skc_family);
	read_kernel(port, sk, struct sock, __sk_common.skc_dport);
	record->local_port = socket_local_port(sk);
	record->remote_port = bpf_ntohs(port);
	if (family == FAMILY_IPV4) {
		read_kernel(local, sk, struct sock, __sk_common.skc_rcv_saddr);
		read_kernel(remote, sk, struct sock, __sk_common.skc_daddr);
		set_ipv4(record->local_address, local);
		set_ipv4(record->remote_address, remote);
	} else {
		read_kernel(record->local_address, sk, struct sock, __sk_common.skc_v6_rcv_saddr);
		read_kernel(record->remote_address, sk, struct sock, __sk_common.skc_v6_daddr);
	}
}

/* Does the mode ask for it? An error is one of who gave it, or of who got it, as in agent.collectors.http. */
static inline u32 is_chosen(struct http_log_scratch *scratch, struct http_log_share *share, u32 role, u32 status,
			    u64 duration_ns)
{
	u64 one_in = scratch->mode.one_in;

	if (scratch->mode.choice == HTTP_LOG_ERRORS)
		return !status || status >= (role == HTTP_SERVER ? 500 : 400) || duration_ns >= scratch->mode.slow_ns;
	if (scratch->mode.choice == HTTP_LOG_SAMPLED)
		return one_in && add_one(&share->sampled) % one_in == 0;
	return 1;
}

/* By whole seconds: around a second's turn a workload may have two shares. */
static inline u32 has_room(struct http_log_scratch *scratch, struct http_log_share *share, u64 now_ns)
{
	u64 second = now_ns / NANOSECONDS;

	if (share->second != second) {
		share->second = second;
		share->records = 0;
	}
	return add_one(&share->records) < scratch->mode.per_second;
}

static inline void send_record(struct http_log_scratch *scratch, struct http_log_record *record,
			       struct http_log_books *books)
{
	struct http_log_heads_books *heads;
	u64 size = offsetof(struct http_log_record, bytes) + HTTP_CARRY + record->length;
	int row = 0;

	record->duration_ns = scratch->record.duration_ns;
	asm volatile("" : "+r"(size));
	if (size > sizeof(*record))
		size = sizeof(*record);
	if (http_log.ringbuf_output(record, size, BPF_RB_NO_WAKEUP) < 0) {
		__sync_fetch_and_add(&books->ring_full, 1);
		return;
	}
	heads = books_http_log_heads.lookup(&row);
	if (!heads)
		return;
	__sync_fetch_and_add(&heads->seen, 1);
	if (!record->length && !record->carried)
		__sync_fetch_and_add(&heads->not_kept, 1);
}

/* The scratch's record has both ends. */
static inline void log_request(struct http_log_scratch *scratch, u64 number, u64 cgroup_id, u64 now_ns, u32 role,
			       u64 started_ns, u32 method, u32 place, u32 status, u32 error)
{
	struct http_log_record *kept, *blank = &scratch->record;
	struct http_log_share zero = {}, *share;
	struct http_log_books *books;
	struct http_head_key key = {};
	int row = 0;

	share = http_log_shares.lookup_or_try_init(&cgroup_id, &zero);
	books = books_http_log.lookup(&row);
	if (!share || !books || !is_chosen(scratch, share, role, status, now_ns - started_ns))
		return;
	__sync_fetch_and_add(&books->seen, 1);
	if (!has_room(scratch, share, now_ns)) {
		__sync_fetch_and_add(&books->rate_limit, 1);
		return;
	}
	blank->started_ns = started_ns;
	blank->duration_ns = now_ns - started_ns;
	blank->cgroup_id = cgroup_id;
	blank->status = status;
	blank->method = method;
	blank->role = role;
	blank->error = error;
	blank->length = 0;
	blank->carried = 0;
	key.number = number;
	key.place = place;
	kept = place ? http_heads.lookup(&key) : 0;
	if (!kept || kept->started_ns != started_ns) {
		send_record(scratch, blank, books);
		return;
	}
	kept->cgroup_id = cgroup_id;
	__builtin_memcpy(kept->local_address, blank->local_address, 32);
	kept->local_port = blank->local_port;
	kept->remote_port = blank->remote_port;
	kept->status = status;
	kept->method = method;
	kept->role = role;
	kept->error = error;
	send_record(scratch, kept, books);
}

static inline void log_answers(struct bpf_sock *sk, volatile struct http_buffer *b, volatile struct http_socket *socket,
			       struct http_log_scratch *scratch)
{
	u32 answers = b->answers;

	ends_of_packet(&scratch->record, sk);
	for (u32 turn = 0; turn < HTTP_DEPTH; turn++) {
		u32 answer = turn;

		HTTP_FORGET(answers);
		if (turn >= answers)
			break;
		HTTP_FORGET(answer);
		answer %= HTTP_DEPTH;
		log_request(scratch, socket->log_number, socket->cgroup_id, b->now_ns, socket->role,
			    b->answered[answer].started_ns, b->answered[answer].method, b->answered[answer].head,
			    b->statuses[answer], HTTP_ANSWERED);
	}
}

/* When all of the segment is read, and what was carried over to it is still there. Where there is something to do this
 * does not return. */
static inline void log_segment(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
			       u32 ingress)
{
	volatile struct http_buffer *b = buffer;

	if (!(b->heads | b->more | b->answers))
		return;
	if (!is_logged(socket->cgroup_id)) {
		socket->directions[ingress].head = 0;
		return;
	}
	skb->cb[0] = b->level;
	if (ingress)
		http_log_ingress.call(skb, 0);
	else
		http_log_egress.call(skb, 0);
}

/* Goes on where log_segment() has left follow() or follow_on(). */
static inline void log_and_finish(struct __sk_buff *skb, u32 ingress)
{
	struct http_log_scratch *scratch;
	u32 level = skb->cb[0];
	struct bpf_sock *sk = skb->sk;
	struct http_buffer *buffer;
	struct http_socket *socket;

	if (!sk || level >= HTTP_LEVELS)
		return;
	buffer = http_buffers.lookup(&level);
	if (!buffer)
		return;
	if (buffer->is_early)
		socket = http_early.lookup(&buffer->pair);
	else
		socket = http_sockets.sk_storage_get(sk, 0, 0);
	if (!socket) {
		__sync_fetch_and_add(&buffer->in_use, -1);
		return;
	}
	scratch = log_scratch(level, socket->cgroup_id);
	if (scratch) {
		if (buffer->more)
			keep_more(skb, buffer, socket);
		if (buffer->heads)
			log_heads(skb, buffer, socket, &socket->directions[ingress], scratch);
		if (buffer->answers)
			log_answers(sk, buffer, socket, scratch);
	}
	finish(buffer, socket, ingress);
}

/* The requests that wait have no answer. */
static inline void log_end(struct sock *sk, struct http_buffer *buffer, struct http_socket *socket, u32 error)
{
	struct http_log_scratch *scratch = log_scratch(buffer->level, socket->cgroup_id);
	u32 waiting = socket->next - socket->first, slot;
	u64 now_ns = bpf_ktime_get_ns();

	if (!scratch)
		return;
	ends_of_socket(&scratch->record, sk);
	for (u32 open = 0; open < HTTP_DEPTH; open++) {
		HTTP_FORGET(waiting);
		if (open >= waiting)
			break;
		slot = (socket->first + open) % HTTP_DEPTH;
		log_request(scratch, socket->log_number, socket->cgroup_id, now_ns, socket->role,
			    socket->open[slot].started_ns, socket->open[slot].method, socket->open[slot].head, 0,
			    error);
	}
}

int on_http_log_ingress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_log_ingress.lookup(&row);
	u64 start_ns = count_run(runs);

	log_and_finish(skb, 1);
	time_run(runs, start_ns);
	return 1;
}

int on_http_log_egress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_log_egress.lookup(&row);
	u64 start_ns = count_run(runs);

	log_and_finish(skb, 0);
	time_run(runs, start_ns);
	return 1;
}
