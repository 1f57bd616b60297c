// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How large are the bodies of requests and answers?
 *
 * Hook:  none of its own in the packet programs: http.bpf.c calls where a message begins and where the size of its body
 *        is known; BTF tracepoint inet_sock_set_state for bodies that end with their connection. Without this none of
 *        it is compiled, and most answers are not read behind their first line.
 * Counts: one body a message that http.bpf.c counts, 0 bytes where it has none: Content-Length at the head's end, the sum
 *        of the chunks behind the last one, what came until the connection's end where that ends it.
 * Owner: the socket's cgroup.
 * Blind: what http.bpf.c has lost. A body of known length that is broken off counts as it was announced.
 */
#ifndef WITH_HTTP
#error "http_bodies is a part of http: switch http on as well"
#endif

/* No real body is larger than 1 PiB, and a few that only say so would make the sum worthless. */
#define MAX_HTTP_BODY (1ULL << 50)

/* What ends the body of the message that is being read. */
enum http_body_end { HTTP_NO_BODY, HTTP_ENDS_BY_FRAMING, HTTP_ENDS_WITH_CONNECTION };

struct http_body_key {
	u64 cgroup_id;
	u16 status; /* 0 of a request */
	u8 method;
	u8 role;
	u8 is_answer;
	u8 pad[3];
};

struct http_bodies_books {
	u64 seen;
	u64 map_full;
	u64 unknown;
	u64 cut_off;
};

BPF_HASH(http_body_rows, struct http_body_key, struct http_body_row, MAX_HTTP_ROWS);
BPF_HASH(http_body_others, struct http_body_key, struct http_body_row, 4 * MAX_CGROUPS); /* two roles, two directions */
BPF_PERCPU_ARRAY(books_http_bodies, struct http_bodies_books, 1);
BPF_PERCPU_ARRAY(runs_on_http_bodies_end, struct program_runs, 1);

static inline void body_begins(volatile struct http_direction *d)
{
	d->body_end = HTTP_ENDS_BY_FRAMING;
	d->body_size = 0;
}

static inline void body_grows(volatile struct http_direction *d, u64 size)
{
	d->body_size += size;
}

/* A segment of a direction that is not read any more. */
static inline void body_passes(volatile struct http_direction *d, u32 end)
{
	if (d->body_end == HTTP_ENDS_WITH_CONNECTION)
		d->body_size += end - d->position;
}

static inline void lose_unknown_body(volatile struct http_direction *d)
{
	d->bodies_lost += 1;
}

static inline void lose_body(volatile struct http_direction *d)
{
	if (d->body_end)
		lose_unknown_body(d);
	d->body_end = HTTP_NO_BODY;
}

/* Counted when all of the segment is read. */
static inline void body_ends(volatile struct http_buffer *b, volatile struct http_direction *d, u64 size)
{
	u64 row = b->bodies_ended;

	if (!d->body_end)
		return;
	d->body_end = HTTP_NO_BODY;
	if (row >= HTTP_DEPTH || size > MAX_HTTP_BODY) {
		lose_unknown_body(d);
		return;
	}
	b->bodies_ended = row + 1;
	row %= HTTP_DEPTH;
	b->bodies[row].size = size;
	b->bodies[row].status = d->status;
	b->bodies[row].method = d->status ? d->answered : d->method;
}

/* The body begins behind what was read of the segment, and may lie in segments that came before their turn as well. */
static inline void run_to_end(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u32 start = b->finish - b->left - (b->end - b->at), end = b->finish, is_counted = d->body_end;

	d->body_end = HTTP_NO_BODY;
	http_fail(b, d);
	if (!is_counted)
		return;
	if ((s32)(d->position - end) > 0)
		end = d->position;
	d->body_end = HTTP_ENDS_WITH_CONNECTION;
	d->body_size = end - start;
}

static inline void lose_bodies(u32 map_full, u32 unknown, u32 cut_off)
{
	struct http_bodies_books *books;
	int first = 0;

	books = books_http_bodies.lookup(&first);
	if (!books)
		return;
	__sync_fetch_and_add(&books->seen, (u64)map_full + unknown + cut_off);
	__sync_fetch_and_add(&books->map_full, map_full);
	__sync_fetch_and_add(&books->unknown, unknown);
	__sync_fetch_and_add(&books->cut_off, cut_off);
}

/* The bucket goes through memory, as in count_request(). */
static inline void count_body(volatile struct http_buffer *b, struct http_body_key *key, u64 size)
{
	struct http_body_row *zero = (struct http_body_row *)&b->no_body, *row;
	struct http_bodies_books *books;
	int first = 0;
	u32 bucket;

	b->bucket = body_bytes_bucket(size);
	row = http_body_rows.lookup_or_try_init(key, zero);
	if (!row) {
		key->status = 0;
		key->method = HTTP_OTHER;
		row = http_body_others.lookup_or_try_init(key, zero);
	}
	bucket = b->bucket;
	if (!row || bucket >= BODY_BYTES_BUCKETS) {
		lose_bodies(1, 0, 0);
		return;
	}
	books = books_http_bodies.lookup(&first);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	__sync_fetch_and_add(&row->buckets[bucket], 1);
	__sync_fetch_and_add(&row->total_bytes, size);
}

static inline void count_bodies(volatile struct http_buffer *b, volatile struct http_socket *socket,
				volatile struct http_direction *d)
{
	u32 ended = b->bodies_ended, lost = d->bodies_lost;
	struct http_body_key key = {};

	key.cgroup_id = socket->cgroup_id;
	key.role = socket->role;
	for (u32 turn = 0; turn < HTTP_DEPTH; turn++) {
		u32 row = turn;

		HTTP_FORGET(ended);
		if (turn >= ended)
			break;
		HTTP_FORGET(row);
		row %= HTTP_DEPTH;
		key.status = b->bodies[row].status;
		key.method = b->bodies[row].method;
		key.is_answer = key.status != 0;
		count_body(b, &key, b->bodies[row].size);
	}
	if (lost) {
		d->bodies_lost = 0;
		lose_bodies(0, lost, 0);
	}
}

/* Answers only: a request's body never ends with the connection. */
static inline void end_body(struct http_buffer *buffer, struct http_socket *socket, struct http_direction *d,
			    u32 is_whole)
{
	struct http_body_key key = {};

	lose_bodies(0, d->bodies_lost, 0);
	d->bodies_lost = 0;
	if (d->body_end == HTTP_ENDS_WITH_CONNECTION && is_whole && buffer && d->body_size <= MAX_HTTP_BODY) {
		key.cgroup_id = socket->cgroup_id;
		key.role = socket->role;
		key.status = d->status;
		key.method = d->answered;
		key.is_answer = 1;
		count_body(buffer, &key, d->body_size);
	} else if (d->body_end) {
		lose_bodies(0, 0, 1);
	}
	d->body_end = HTTP_NO_BODY;
}

/* ctx: as of on_http_end() */
int on_http_bodies_end(u64 *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_bodies_end.lookup(&row);
	u64 start_ns = count_run(runs);
	struct sock *sk = (struct sock *)ctx[0];
	struct http_socket *socket;
	struct http_buffer *buffer;
	u32 is_whole;

	if (ctx[2] == STATE_CLOSE && is_tcp(sk)) {
		socket = http_sockets.sk_storage_get(sk, 0, 0);
		buffer = socket ? take_buffer() : 0;
		if (socket) {
			is_whole = !socket->is_hopeless && http_end(sk) == HTTP_CLOSED;
			end_body(buffer, socket, &socket->directions[0], is_whole);
			end_body(buffer, socket, &socket->directions[1], is_whole);
		}
		if (buffer)
			__sync_fetch_and_add(&buffer->in_use, -1);
	}
	time_run(runs, start_ns);
	return 0;
}
