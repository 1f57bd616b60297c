// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which answer belongs to which request? The first one to the first that waits, by HTTP's own order (RFC 9112 9.3.2).
 *
 * Hook:  none of its own. Part of http.bpf.c.
 * Counts: a request when its answer is there; what cannot be paired, by the reason.
 */

/* Rare: there is no row for this kind of request yet, or no room for one, which the key says then. */
static inline struct http_row *make_http_row(struct http_key *key)
{
	struct http_row *row, *zeros;
	int first = 0;

	zeros = http_zeros.lookup(&first);
	if (!zeros)
		return 0;
	row = http_rows.lookup_or_try_init(key, zeros);
	if (row)
		return row;
	key->status = 0;
	key->method = HTTP_OTHER;
	key->error = HTTP_ANSWERED;
	return http_others.lookup_or_try_init(key, zeros);
}

/* The bucket goes through memory: there the verifier forgets which one it is, and takes all of them for one. */
static inline void count_request(volatile struct http_buffer *b, struct http_key *key, struct flow_key *flow,
				 u64 duration_ns)
{
	u32 bucket, is_error = is_http_error(key);
	struct http_requests_books *books;
	struct http_row *row;
	int first = 0;

	b->bucket = request_seconds_bucket(duration_ns);
	books = books_http_requests.lookup(&first);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	row = http_rows.lookup(key);
	if (!row)
		row = make_http_row(key);
	bucket = b->bucket;
	if (!row || bucket >= REQUEST_SECONDS_BUCKETS) {
		if (books)
			__sync_fetch_and_add(&books->map_full, 1);
		return;
	}
	__sync_fetch_and_add(&row->buckets[bucket], 1);
	__sync_fetch_and_add(&row->total_ns, duration_ns);
	count_http_flow(flow, key->role, is_error, duration_ns);
}

static inline void lose_requests(u32 pipelined, u32 gap, u32 no_request)
{
	struct http_requests_books *books;
	int first = 0;

	/* To add what is known to be 0 the compiler takes an atomic `or`, which is an instruction of Linux 5.12. */
	HTTP_FORGET(pipelined);
	HTTP_FORGET(gap);
	HTTP_FORGET(no_request);
	books = books_http_requests.lookup(&first);
	if (!books)
		return;
	__sync_fetch_and_add(&books->seen, (u64)pipelined + gap + no_request);
	__sync_fetch_and_add(&books->pipelined, pipelined);
	__sync_fetch_and_add(&books->gap, gap);
	__sync_fetch_and_add(&books->no_request, no_request);
}

/* One more request waits for its answer. Whoever does not pipeline has had the whole answer before: what comes next in
 * the other direction is the next one, whatever came of the last. */
static inline void open_request(volatile struct http_buffer *b, volatile struct http_socket *socket,
				volatile struct http_direction *other, u64 started_ns, u32 method)
{
	u32 waiting = socket->next - socket->first, slot = socket->next % HTTP_DEPTH;

	if (waiting && !other->lost)
		socket->is_pipelined = 1;
	if (other->lost && !socket->is_hopeless) {
		waiting += socket->beyond;
		b->gap += waiting;
		socket->first = socket->next;
		socket->beyond = 0;
		if (waiting && socket->is_pipelined)
			socket->is_hopeless = 1;
		else
			find_place(other);
		waiting = 0;
	}
	if (socket->is_hopeless) {
		b->gap += 1;
	} else if (waiting >= HTTP_DEPTH || socket->beyond) {
		__sync_fetch_and_add(&socket->beyond, 1);
		if (method == HTTP_HEAD || method == HTTP_CONNECT)
			socket->is_doubtful = 1;
	} else {
		socket->open[slot].started_ns = started_ns;
		socket->open[slot].method = method;
		socket->open[slot].head = b->head;
		socket->next += 1;
	}
}

/* An answer whose request is not known: it was seen before the agent was there, or it lay in bytes that came before
 * their turn. Then only who pipelines can have had several of them there, and no answer tells which request it is for. */
static inline void close_unknown(volatile struct http_buffer *b, volatile struct http_socket *socket,
				 volatile struct http_direction *d, volatile struct http_direction *other)
{
	d->answered = HTTP_UNKNOWN;
	lose_unknown_body(d);
	if (socket->beyond) {
		d->answered = socket->is_doubtful ? HTTP_UNKNOWN : HTTP_OTHER;
		__sync_fetch_and_add(&socket->beyond, -1);
		b->pipelined += 1;
	} else if (other->lost == HTTP_PASSED) {
		d->answered = HTTP_OTHER;
		d->may_lack = 1;
		socket->is_pipelined = 1;
		b->gap += 1;
	} else {
		b->no_request += 1;
	}
}

static inline void close_request(volatile struct http_buffer *b, volatile struct http_socket *socket,
				 volatile struct http_direction *d, volatile struct http_direction *other)
{
	u32 slot = socket->first % HTTP_DEPTH, answer = b->answers;

	if (socket->first == socket->next) {
		close_unknown(b, socket, d, other);
		return;
	}
	d->answered = socket->open[slot].method;
	answer %= HTTP_DEPTH; /* there are not more than can be open */
	b->answered[answer].started_ns = socket->open[slot].started_ns;
	b->answered[answer].method = socket->open[slot].method;
	b->answered[answer].head = socket->open[slot].head;
	b->statuses[answer] = d->status;
	b->answers += 1;
	socket->first += 1;
	body_begins(d);
}

/* Whoever sends the first line of a request is the client, for as long as the connection lives. */
static inline u32 has_role(volatile struct http_socket *socket, volatile struct http_direction *other, u32 role)
{
	if (!socket->role) {
		socket->role = role;
		lose_place(other, HTTP_UNKNOWN_END);
	}
	return socket->role == role;
}

/* The final answer. What follows on it in this direction is not read where it cannot be another answer: whoever does
 * not pipeline asks again when this one has ended. */
static inline void answer_request(volatile struct http_buffer *b, volatile struct http_socket *socket,
				  volatile struct http_direction *d, volatile struct http_direction *other)
{
	close_request(b, socket, d, other);
	if (d->status == 101 || (d->answered == HTTP_CONNECT && d->status / 100 == 2)) {
		socket->is_off = 1;
		b->is_over = 1;
		body_ends(b, d, 0);
	} else if (!HTTP_FOLLOWS_ANSWERS && !socket->is_pipelined && other->lost != HTTP_PASSED) {
		http_fail(b, d); /* of requests that have passed, more than this one may have an answer */
	}
}

/* What was found is counted when all steps are done: so the steps stay short. */
static inline void count_answers(volatile struct http_buffer *b, volatile struct http_socket *socket)
{
	struct http_key key = {};
	u32 answers = b->answers, waiting;

	key.cgroup_id = socket->cgroup_id;
	key.role = socket->role;
	for (u32 turn = 0; turn < HTTP_DEPTH; turn++) {
		u32 answer = turn;

		HTTP_FORGET(answers);
		if (turn >= answers)
			break;
		HTTP_FORGET(answer);
		answer %= HTTP_DEPTH;
		key.status = b->statuses[answer];
		key.method = b->answered[answer].method;
		key.error = HTTP_ANSWERED;
		count_request(b, &key, (struct flow_key *)&socket->flow, b->now_ns - b->answered[answer].started_ns);
	}
	if (socket->is_off) {
		waiting = socket->next - socket->first;
		b->pipelined += waiting + socket->beyond;
		socket->first = socket->next;
		socket->beyond = 0;
	}
	if (b->pipelined || b->gap || b->no_request)
		lose_requests(b->pipelined, b->gap, b->no_request);
}
