// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which HTTP/1.x requests does each workload serve and send, how do they end, how long does the answer take?
 *
 * Hook:  fragment of packet.bpf.c; BTF tracepoint inet_sock_set_state for requests that never get an answer;
 *        the storage of all sockets is walked when user space asks how many wait for one now.
 * Counts: a request when its answer's final status line is there, or when its socket ends without one. Each direction
 *        is followed by its TCP sequence numbers and by HTTP's own framing (RFC 9112 6): heads are read line by line,
 *        bodies are passed over unread, so neither a retransmission nor a body that looks like a head is counted.
 * Time:  from the request's first byte to the end of the final status line: the answer's body is not in it.
 * Blind: bytes that came out of order with a head in them (lost, reason gap); TLS; HTTP/2; HTTP/0.9.
 */

/* Of a line that is cut by a segment's end; enough for every line whose content matters. */
#define HTTP_CARRY 64

/* Bytes that lie in the buffer at once, a power of two for masks: the carried line's, then the segment's. */
#define HTTP_BUFFER 512
#define HTTP_WINDOW (HTTP_BUFFER - HTTP_CARRY)

/* Of an answer only the first line is read where nobody pipelines, unless bodies are to be measured. */
#ifdef WITH_HTTP_BODIES
#define HTTP_FOLLOWS_ANSWERS 1
#define HTTP_SHORT_WINDOW HTTP_WINDOW
#else
#define HTTP_FOLLOWS_ANSWERS 0
#define HTTP_SHORT_WINDOW 64
#endif

/* Bytes looked at in one step. */
#define HTTP_STRIDE 32

/* Lines of a head in the buffer, and what of them is longer than a stride. */
#define HTTP_STEPS 48

/* Buffers and messages that are read of a segment. The verifier walks each of them. */
#define HTTP_ROUNDS 2

/* Lines and numbers read in one call of requests that are only counted any more. The verifier walks each of them. */
#define HTTP_SKIM_STEPS 128

/* Tail calls for a segment: of the 33 that the kernel allows one is the request log's. */
#define HTTP_CALLS 31

/* Requests of a connection that wait for their answer at once. */
#define HTTP_DEPTH 16

/* Payloads that are no head of HTTP: in a row in one direction, until the other one speaks; and in all. */
#define HTTP_MISSES_IN_A_ROW 4
#define HTTP_MISSES 8

/* Digits of a length and the spaces before them. */
#define HTTP_PLACES 18

/* Buffers a CPU: a run in process context can be interrupted by one in softirq, or another task be put in between. */
#define HTTP_LEVELS 4

/* For the moment between a packet and its answer. */
#define HTTP_EARLY 1024

/* Before 5.11 (8e4597c627fb) no tracepoint program may use a socket's storage: then what of a socket may end is kept in
 * a hash as well, as long as requests wait there. That many sockets; one more is given up, and its requests are lost. */
#ifndef HTTP_KEEPS_COPIES
#define HTTP_KEEPS_COPIES (LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0))
#endif
#define HTTP_COPIES 8192

/* What the compiler knows of a value it forgets. Of a loop's two bounds it would make one and count up to it with `!=`,
 * which before 6.8 the verifier takes for a loop without an end; and it leaves out masks that the verifier needs. */
#define HTTP_FORGET(value) asm volatile("" : "+r"(value))

/* Sequence numbers are compared by their difference: a body is passed over in parts that are far from half of them. */
#define HTTP_JUMP (1 << 30)

/* include/uapi/asm-generic/errno.h: what a socket ends with */
#define HTTP_ERRNO_PIPE 32
#define HTTP_ERRNO_ABORTED 103
#define HTTP_ERRNO_RESET 104
#define HTTP_ERRNO_TIMED_OUT 110

/* In the order of catalogue.HTTP_METHODS. */
enum http_method {
	HTTP_OTHER,
	HTTP_CONNECT,
	HTTP_DELETE,
	HTTP_GET,
	HTTP_HEAD,
	HTTP_OPTIONS,
	HTTP_PATCH,
	HTTP_POST,
	HTTP_PUT,
	HTTP_TRACE,
	HTTP_UNKNOWN, /* of the request whose answer this is: it was not seen */
};

/* In the order of agent.collectors.http.ERRORS; a status that is an error is one by the row's status. */
enum http_error { HTTP_ANSWERED, HTTP_RESET, HTTP_CLOSED, HTTP_TIMEOUT, HTTP_ERROR_UNKNOWN };

/* What begins at a direction's position, behind the bytes of a body. */
enum http_state { HTTP_AT_START, HTTP_IN_HEAD, HTTP_AT_CHUNK, HTTP_IN_TRAILER };

enum http_role { HTTP_ROLE_UNKNOWN, HTTP_CLIENT, HTTP_SERVER };

/* Why a direction's place is lost: a message ends where nobody can tell, or lay in bytes that came before their turn. */
enum http_loss { HTTP_NOT_LOST, HTTP_UNKNOWN_END, HTTP_PASSED };

struct http_direction {
	u64 body; /* bytes to pass over */
	u64 length; /* Content-Length of the head that is being read */
	u64 started_ns; /* of a first line that is not complete */
	u32 position; /* sequence number of what is not followed yet */
	u32 ahead_from; /* what came before its turn, as one range; empty where both are the same */
	u32 ahead_to;
	u16 status;
	u8 method;
	u8 answered; /* the method of the request that is being answered */
	u8 state;
	u8 carried;
	u8 long_line; /* its beginning was read, and is not in `carry` any more */
	u8 lost; /* where the next message begins is not known: enum http_loss */
	u8 has_length;
	u8 is_coded; /* Transfer-Encoding */
	u8 is_chunked;
	u8 is_guess; /* what `lost` was: whether a message begins here is not known, it only looks like one */
	u8 head; /* of http_log.bpf.c: the place where what is being read is kept */
	u8 collided; /* another CPU came with a segment meanwhile */
	u8 may_lack; /* of the message that is being read: its body may be kept back, or it may be an answer to HEAD */
	u8 is_open; /* whether there is a body at all, the next bytes will tell */
#ifdef WITH_HTTP_BODIES
	u64 body_size; /* as far as it is known: of one that ends with its last chunk, or with the connection */
	u32 bodies_lost; /* the books do not have them yet */
	u32 body_end; /* of http_bodies.bpf.c: what ends the body of the message that is being read */
#endif
	u64 readers;
	u8 carry[HTTP_CARRY];
};

struct http_open {
	u64 started_ns;
	u32 method;
	u32 head; /* of http_log.bpf.c: the place where its head is kept, 0 for none */
};

/* As long as the socket lives. By direction: 0 sent, 1 received. */
struct http_socket {
	u64 cgroup_id;
	u32 first; /* open requests: numbers modulo 2^32 */
	u32 next;
	u32 beyond; /* open ones that found no room: each direction's CPU changes it */
	u8 role;
	u8 is_off; /* not HTTP, or not any more */
	u8 is_pipelined; /* a request was sent while another one waited for its answer */
	u8 is_hopeless; /* which answer belongs to which request is not known any more */
	u8 misses;
	u8 misses_in_a_row;
	u8 missed;
	u8 is_doubtful; /* one of those beyond is of a method whose answer has another framing */
	u8 last_head;
	u8 has_ended; /* the connection; the application may connect the same socket again: connect(2), AF_UNSPEC */
	u8 has_copy;
	u8 pad[1];
#ifdef WITH_HTTP_LOG
	u64 log_number; /* begins the keys of its heads */
#endif
	struct http_open open[HTTP_DEPTH];
	struct http_direction directions[2];
	struct flow_key flow;
};

struct http_pair {
	u32 remote[4];
	u32 local[4];
	u16 remote_port;
	u16 local_port;
};

/* A head that begins in this segment, or in what was carried over to it, and where in the packet. */
struct http_begun {
	u64 started_ns;
	u32 offset;
	u32 head;
};

#ifdef WITH_HTTP_BODIES
/* A message's body whose size is known. status: 0 of a request */
struct http_body {
	u64 size;
	u16 status;
	u8 method;
	u8 pad[5];
};

struct http_body_row {
	u64 buckets[BODY_BYTES_BUCKETS];
	u64 total_bytes;
};
#endif

/* Where a run reads. What the steps keep is here, not in registers: so the verifier takes all of them for one. */
struct http_buffer {
	u64 in_use;
	u64 now_ns;
	u64 number;
	u32 at; /* first byte that was not looked at */
	u32 line; /* where the line begins */
	u32 end; /* behind the last byte */
	u32 offset; /* in the packet, of what is not in the buffer yet */
	u32 left; /* bytes of it */
	u32 window; /* how many of them to take next */
	u32 calls;
	u32 newline;
	u32 length_at; /* behind "Content-Length:"; 0 where there was none */
	u32 digits; /* are there any? */
	u32 is_over;
	u32 has_ended;
	u32 answers;
	u32 pipelined;
	u32 gap;
	u32 no_request;
	u32 bucket;
	u32 level; /* its row */
	u32 finish; /* sequence number behind the segment */
	u32 head; /* of the request whose first line was read */
	u16 statuses[HTTP_DEPTH];
	struct http_open answered[HTTP_DEPTH];
#ifdef WITH_HTTP_LOG
	struct http_begun begun[HTTP_DEPTH];
	u32 heads;
	u32 more; /* the place of the head that goes on */
	u32 payload; /* in the packet, of its first byte that is new */
	u32 is_early;
	struct http_pair pair; /* of an early one */
#endif
#ifdef WITH_HTTP_BODIES
	struct http_body bodies[HTTP_DEPTH];
	struct http_body_row no_body; /* empty, to begin a row with: for the stack it may be too large */
	u64 bodies_ended;
#endif
	u8 bytes[HTTP_BUFFER + HTTP_STRIDE];
	struct http_socket early; /* empty, to begin one with */
};

/* What the walk writes of a socket whose requests wait for their answer. */
struct http_waiting {
	u64 cgroup_id;
	u32 beyond;
	u8 role;
	u8 pad[3];
	u8 methods[HTTP_DEPTH]; /* HTTP_UNKNOWN where there is none */
};

struct http_key {
	u64 cgroup_id;
	u16 status;
	u8 method;
	u8 role;
	u8 error;
	u8 pad[3];
};

struct http_row {
	u64 buckets[REQUEST_SECONDS_BUCKETS];
	u64 total_ns;
};

struct http_requests_books {
	u64 seen;
	u64 map_full;
	u64 pipelined;
	u64 gap;
	u64 no_request;
};

BPF_SK_STORAGE(http_sockets, struct http_socket);
/* Requests that came with a handshake's last packet: the hook sees the listener's socket, the new one takes them over. */
BPF_TABLE("lru_hash", struct http_pair, struct http_socket, http_early, HTTP_EARLY);
#if HTTP_KEEPS_COPIES
BPF_HASH(http_copies, u64, struct http_socket, HTTP_COPIES); /* by the socket's cookie */
#endif
BPF_HASH(http_rows, struct http_key, struct http_row, MAX_HTTP_ROWS);
BPF_HASH(http_others, struct http_key, struct http_row, 2 * MAX_CGROUPS); /* two roles */
BPF_HASH(http_attached, u32, u64, 1); /* has a row when both programs are; user space writes it */
BPF_PERCPU_ARRAY(http_buffers, struct http_buffer, HTTP_LEVELS);
BPF_PERCPU_ARRAY(books_http_requests, struct http_requests_books, 1);
BPF_PROG_ARRAY(http_ingress, 1); /* one a direction: a program's kind is the table's, its direction included */
BPF_PROG_ARRAY(http_egress, 1);
BPF_PROG_ARRAY(http_skim_ingress, 1);
BPF_PROG_ARRAY(http_skim_egress, 1);
BPF_PERCPU_ARRAY(runs_on_http_ingress, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_http_egress, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_http_skim_ingress, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_http_skim_egress, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_http_end, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_http_end_left_out, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_http_socket, struct program_runs, 1);

/* http_flows.bpf.c */
static inline u32 is_http_error(struct http_key *key);
static inline void count_http_flow(struct flow_key *flow, u32 role, u32 is_error, u64 duration_ns);

/* The request log where it is compiled in: http_log.bpf.c. */
#ifdef WITH_HTTP_LOG
static inline void log_begin(volatile struct http_buffer *b, volatile struct http_socket *socket,
			     volatile struct http_direction *d);
static inline void log_more(struct __sk_buff *skb, struct packet *p, struct http_buffer *buffer,
			    volatile struct http_direction *d);
static inline void log_segment(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
			       u32 ingress);
static inline void log_end(struct sock *sk, struct http_buffer *buffer, struct http_socket *socket, u32 error);
#else
#define log_begin(b, socket, d)
#define log_more(skb, p, buffer, d)
#define log_segment(skb, buffer, socket, ingress)
#define log_end(sk, buffer, socket, error)
#endif

/* The bodies' sizes where they are compiled in: http_bodies.bpf.c. */
#ifdef WITH_HTTP_BODIES
static inline void body_begins(volatile struct http_direction *d);
static inline void body_grows(volatile struct http_direction *d, u64 size);
static inline void body_passes(volatile struct http_direction *d, u32 end);
static inline void body_ends(volatile struct http_buffer *b, volatile struct http_direction *d, u64 size);
static inline void run_to_end(volatile struct http_buffer *b, volatile struct http_direction *d);
static inline void lose_body(volatile struct http_direction *d);
static inline void lose_unknown_body(volatile struct http_direction *d);
static inline void count_bodies(volatile struct http_buffer *b, volatile struct http_socket *socket,
				volatile struct http_direction *d);
#else
#define body_begins(d)
#define body_grows(d, size)
#define body_passes(d, end)
#define body_ends(b, d, size)
#define run_to_end(b, d) http_fail(b, d)
#define lose_body(d)
#define lose_unknown_body(d)
#define count_bodies(b, socket, d)
#endif

static inline struct http_buffer *take_buffer(void)
{
	struct http_buffer *buffer;

#pragma unroll
	for (int level = 0; level < HTTP_LEVELS; level++) {
		int row = level;

		buffer = http_buffers.lookup(&row);
		if (!buffer)
			return 0;
		__sync_fetch_and_add(&buffer->in_use, 1);
		if (*(volatile u64 *)&buffer->in_use == 1) {
			buffer->level = level;
			return buffer;
		}
		__sync_fetch_and_add(&buffer->in_use, -1);
	}
	return 0;
}

/* The bucket goes through memory: there the verifier forgets which one it is, and takes all of them for one. */
static inline void count_request(volatile struct http_buffer *b, struct http_key *key, struct flow_key *flow,
				 u64 duration_ns)
{
	struct http_row zero = {}, *row;
	struct http_requests_books *books;
	u32 bucket, is_error = is_http_error(key);
	int first = 0;

	b->bucket = request_seconds_bucket(duration_ns);
	books = books_http_requests.lookup(&first);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	row = http_rows.lookup(key);
	if (!row)
		row = http_rows.lookup_or_try_init(key, &zero);
	if (!row) {
		key->status = 0;
		key->method = HTTP_OTHER;
		key->error = HTTP_ANSWERED;
		row = http_others.lookup_or_try_init(key, &zero);
	}
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

static inline u64 http_word(volatile struct http_buffer *b, u32 at)
{
	return *(volatile u64 *)(b->bytes + (at & (HTTP_BUFFER - 1)));
}

static inline u32 http_byte(volatile struct http_buffer *b, u32 at)
{
	return b->bytes[at & (HTTP_BUFFER - 1)];
}

/* Bytes as a number in the order in which they lie in memory (x86-64, arm64). */
#define HTTP_BYTES(a, b, c, d, e, f, g, h)                                                                             \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | (u64)(f) << 40 |                \
	 (u64)(g) << 48 | (u64)(h) << 56)
#define HTTP_FIRST(word, count) ((word) & (~0ULL >> (64 - 8 * (count))))
#define HTTP_LOWER 0x2020202020202020ULL

static inline u32 http_method(u64 word)
{
	if (HTTP_FIRST(word, 4) == HTTP_BYTES('G', 'E', 'T', ' ', 0, 0, 0, 0))
		return HTTP_GET;
	if (HTTP_FIRST(word, 5) == HTTP_BYTES('P', 'O', 'S', 'T', ' ', 0, 0, 0))
		return HTTP_POST;
	if (HTTP_FIRST(word, 4) == HTTP_BYTES('P', 'U', 'T', ' ', 0, 0, 0, 0))
		return HTTP_PUT;
	if (HTTP_FIRST(word, 5) == HTTP_BYTES('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return HTTP_HEAD;
	if (HTTP_FIRST(word, 7) == HTTP_BYTES('D', 'E', 'L', 'E', 'T', 'E', ' ', 0))
		return HTTP_DELETE;
	if (HTTP_FIRST(word, 6) == HTTP_BYTES('P', 'A', 'T', 'C', 'H', ' ', 0, 0))
		return HTTP_PATCH;
	if (word == HTTP_BYTES('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return HTTP_OPTIONS;
	if (HTTP_FIRST(word, 6) == HTTP_BYTES('T', 'R', 'A', 'C', 'E', ' ', 0, 0))
		return HTTP_TRACE;
	if (word == HTTP_BYTES('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return HTTP_CONNECT;
	return HTTP_OTHER;
}

static inline u32 is_http_version(u64 word)
{
	u32 minor = word >> 56;

	return HTTP_FIRST(word, 7) == HTTP_BYTES('H', 'T', 'T', 'P', '/', '1', '.', 0) && minor - '0' < 10;
}

/* The status of "HTTP/1.1 200 ...", 0 of anything else. */
static inline u32 http_status(volatile struct http_buffer *b, u32 line)
{
	u64 word;
	u32 hundreds, tens, ones, behind;

	if (!is_http_version(http_word(b, line)))
		return 0;
	word = http_word(b, line + 8);
	hundreds = (u8)(word >> 8) - '0';
	tens = (u8)(word >> 16) - '0';
	ones = (u8)(word >> 24) - '0';
	behind = (u8)(word >> 32);
	if ((u8)word != ' ' || hundreds - 1 > 4 || tens > 9 || ones > 9)
		return 0;
	return behind == ' ' || behind == '\r' || behind == '\n' ? hundreds * 100 + tens * 10 + ones : 0;
}

/* The highest bit of the first of eight bytes that is a line feed is set, and no lower one; 0 of none. */
static inline u64 line_feeds(u64 word)
{
	word ^= 0x0a0a0a0a0a0a0a0aULL;
	return (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
}

/* The number of the lowest byte whose highest bit is set. */
static inline u32 first_byte(u64 bits)
{
	return ((bits & -bits) >> 7) * 0x0001020304050607ULL >> 56;
}

/* Nothing of this direction can be read until it is known again where a message begins. */
static inline void lose_place(volatile struct http_direction *d, u32 loss)
{
	if (d->ahead_from != d->ahead_to && (s32)(d->ahead_to - d->position) > 0)
		d->position = d->ahead_to;
	lose_body(d);
	d->lost = loss;
	d->state = HTTP_AT_START;
	d->body = 0;
	d->carried = 0;
	d->long_line = 0;
	d->is_open = 0;
	d->ahead_from = 0;
	d->ahead_to = 0;
}

static inline void http_fail(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	lose_place(d, d->is_guess == HTTP_PASSED ? HTTP_PASSED : HTTP_UNKNOWN_END);
	b->is_over = 1;
}

/* A message begins at this direction's position. */
static inline void find_place(volatile struct http_direction *d)
{
	lose_place(d, HTTP_NOT_LOST);
	d->is_guess = 0;
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

/* What a first line begins with. */
static inline void begin_line(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	d->status = http_status(b, b->line);
	d->method = http_method(http_word(b, b->line));
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

static inline void read_first_line(volatile struct http_buffer *b, volatile struct http_socket *socket,
				   volatile struct http_direction *d, volatile struct http_direction *other,
				   u32 ingress)
{
	u32 newline = b->newline, line = b->line;

	if (newline != line)
		newline -= http_byte(b, newline - 1) == '\r';
	if (newline == line)
		return; /* RFC 9112 2.2: empty lines before a message are passed over */
	if (!d->long_line)
		begin_line(b, d);
	d->has_length = 0;
	d->is_coded = 0;
	d->is_chunked = 0;
	d->may_lack = 0;
	if (d->status) {
		if (!has_role(socket, other, ingress ? HTTP_CLIENT : HTTP_SERVER)) {
			http_fail(b, d);
			return;
		}
		d->state = HTTP_IN_HEAD;
		d->is_guess = 0;
		if (d->status >= 200 || d->status == 101)
			answer_request(b, socket, d, other);
		return;
	}
	if (newline - line < 12 || !is_http_version(http_word(b, newline - 8)) || http_byte(b, newline - 9) != ' ' ||
	    (d->is_guess && d->method == HTTP_OTHER) || !has_role(socket, other, ingress ? HTTP_SERVER : HTTP_CLIENT)) {
		http_fail(b, d);
		return;
	}
	d->state = HTTP_IN_HEAD;
	d->is_guess = 0;
	if (!d->long_line)
		log_begin(b, socket, d);
	b->head = d->head;
	open_request(b, socket, other, d->started_ns, d->method);
	d->started_ns = b->now_ns;
	body_begins(d);
}

/* A request whose end is not known: more of them may lie in what is left of the segment. */
static inline void fail_framing(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	http_fail(b, d);
	if (!d->status && (b->left || b->at < b->end))
		d->lost = HTTP_PASSED;
}

/* How long the body is: RFC 9112 6.3. */
static inline void end_head(volatile struct http_buffer *b, volatile struct http_socket *socket,
			    volatile struct http_direction *d)
{
	u32 status = d->status, answered = d->answered;

	d->state = HTTP_AT_START;
	if (status) {
		if (status < 200 || status == 204 || status == 304 || answered == HTTP_HEAD) {
			body_ends(b, d, 0);
			return;
		}
		if (answered == HTTP_UNKNOWN && !(d->has_length && !d->length)) {
			http_fail(b, d); /* it may have been HEAD */
			return;
		}
		if (!d->is_coded && !d->has_length) {
			run_to_end(b, d); /* the connection's */
			return;
		}
	}
	if (d->is_coded) {
		if (d->is_chunked)
			d->state = HTTP_AT_CHUNK;
		else
			fail_framing(b, d);
	} else if (d->has_length) {
		d->body = d->length;
		body_ends(b, d, d->length);
	} else {
		body_ends(b, d, 0);
	}
	d->is_open = d->may_lack;
}

/* RFC 9110 10.1.1: who expects 100 Continue and gets the final answer instead may keep the body back. And the request of
 * an answer may be a HEAD that has passed. What comes instead of the body is the next head, or there is the body. */
static inline void open_body(volatile struct http_buffer *b, volatile struct http_socket *socket,
			     volatile struct http_direction *d)
{
	u32 have = b->end - b->line, is_due = !d->status && (socket->first != socket->next || socket->beyond);
	u64 word = http_word(b, b->line);

	if (!is_due && have < 8 && (d->state == HTTP_AT_CHUNK || have < d->body)) {
		b->at = b->end;
		return;
	}
	b->at = b->line;
	d->is_open = 0;
	if (is_due || (d->status ? HTTP_FIRST(word, 7) != HTTP_BYTES('H', 'T', 'T', 'P', '/', '1', '.', 0)
				 : http_method(word) == HTTP_OTHER)) {
		d->started_ns = b->now_ns;
		return;
	}
	d->body = 0;
	d->state = HTTP_AT_START;
}

/* An answer that was read for its body's sake has ended, or is passed over: as in answer_request(). */
static inline void leave_answer(volatile struct http_buffer *b, volatile struct http_socket *socket,
				volatile struct http_direction *d, volatile struct http_direction *other)
{
	if (HTTP_FOLLOWS_ANSWERS && d->status >= 200 && d->state == HTTP_AT_START && !d->lost &&
	    !socket->is_pipelined && other->lost != HTTP_PASSED)
		http_fail(b, d);
}

/* White space (RFC 9110 5.6.3), or what nobody writes before a number: by one comparison. */
static inline u32 is_space(u32 byte)
{
	return !(byte & ~(' ' | '\t'));
}

/* Digits from `at` on, behind spaces, up to what is none: the line's end at the latest. */
static inline void read_number(volatile struct http_buffer *b, u32 at, u32 base)
{
	u32 byte, digit, digits = 0;

	b->number = 0;
	b->digits = 0;
	for (u32 place = 0; place < HTTP_PLACES; place++) {
		byte = http_byte(b, at + place);
		digit = byte - '0';
		if (base == 16 && digit > 9)
			digit = (byte | 0x20) - 'a' < 6 ? (byte | 0x20) - 'a' + 10 : base;
		if (digit < base) {
			b->number = b->number * base + digit;
			b->digits = 1;
		} else if (!is_space(byte) || b->digits) {
			return;
		}
	}
	b->digits = 0;
}

/* RFC 9112 7.1: what begins a chunk; behind its bytes a line ends. */
static inline void read_chunk(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	read_number(b, b->line, 16);
	if (!b->digits)
		fail_framing(b, d);
	else if (b->number)
		d->body = b->number + 2;
	else
		d->state = HTTP_IN_TRAILER;
	body_grows(d, b->number);
}

static inline u32 copy_tail(volatile struct http_buffer *b, volatile u64 *to)
{
	u32 end = b->end, length = end - b->line;

#pragma unroll
	for (int word = 0; word < HTTP_CARRY / 8; word++)
		to[word] = http_word(b, end - HTTP_CARRY + word * 8);
	return length < HTTP_CARRY ? length : HTTP_CARRY;
}

/* From 1 to `most`, so that the verifier sees both bounds: before 6.8 it learns nothing of `!= 0`. */
#define is_length(length, most)                                                                                        \
	({                                                                                                             \
		u64 last = length - 1;                                                                                 \
		u32 is_in;                                                                                             \
		HTTP_FORGET(last);                                                                                     \
		is_in = last < most;                                                                                   \
		HTTP_FORGET(last);                                                                                     \
		length = last + 1;                                                                                     \
		is_in;                                                                                                 \
	})

/* The segment's next bytes, behind what is there of an unfinished line. Returns 0 where there are none. */
static inline u32 fill_buffer(struct __sk_buff *skb, struct http_buffer *b)
{
	volatile struct http_buffer *v = b;
	u64 length = v->left, window = v->window;

	if (!length)
		return 0;
	if (v->line < v->end)
		v->line = HTTP_CARRY - copy_tail(v, (volatile u64 *)v->bytes);
	else
		v->line = HTTP_CARRY;
	v->window = HTTP_WINDOW;
	if (length > window)
		length = window;
	if (!is_length(length, HTTP_WINDOW))
		return 0;
	if (bpf_skb_load_bytes(skb, v->offset, b->bytes + HTTP_CARRY, length) < 0)
		return 0;
	v->left -= length;
	v->offset += length;
	v->at = HTTP_CARRY;
	v->end = HTTP_CARRY + length;
	return 1;
}

static inline void skip_body(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u64 here = b->end - b->at, body = d->body;

	if (body <= here) {
		b->at += body;
	} else {
		b->at = b->end;
		body -= here;
		here = b->left;
		if (here > body)
			here = body;
		b->offset += here;
		b->left -= here;
		d->body = body - here;
		b->line = b->at;
		return;
	}
	d->body = 0;
	b->line = b->at;
}

/* Looks at the next bytes. Sets newline if they have one, and passes over them if not. */
static inline u32 look(volatile struct http_buffer *b)
{
	u32 at = b->at;
	u64 first = line_feeds(http_word(b, at)), second = line_feeds(http_word(b, at + 8));
	u64 third = line_feeds(http_word(b, at + 16)), fourth = line_feeds(http_word(b, at + 24));

	if (!(first | second | third | fourth)) {
		b->at = at + HTTP_STRIDE;
		return 0;
	}
	if (!first) {
		at += 8;
		first = second;
	}
	if (!first) {
		at += 8;
		first = third;
	}
	if (!first) {
		at += 8;
		first = fourth;
	}
	b->newline = at + first_byte(first);
	b->at = b->newline + 1;
	return 1;
}

/* Sets newline where the line ends in the buffer; 0 if it does not. */
static inline u32 find_newline(volatile struct http_buffer *b)
{
	for (u32 stride = 0; stride < HTTP_BUFFER / HTTP_STRIDE; stride++) {
		if (look(b))
			return b->newline < b->end;
		if (b->at >= b->end)
			break;
	}
	return 0;
}

static inline void read_field(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u32 line = b->line;
	u64 word = http_word(b, line) | HTTP_LOWER;

	if (word == HTTP_BYTES('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
		word = http_word(b, line + 8) | HTTP_LOWER;
		if (HTTP_FIRST(word, 7) == HTTP_BYTES('l', 'e', 'n', 'g', 't', 'h', ':', 0))
			b->length_at = line + 15;
	} else if (word == HTTP_BYTES('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) {
		word = http_word(b, line + 8) | HTTP_LOWER;
		if (word != HTTP_BYTES('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n'))
			return;
		d->is_coded = 1;
		word = http_word(b, b->newline - 8 - (http_byte(b, b->newline - 1) == '\r')) | HTTP_LOWER;
		d->is_chunked = word >> 8 == HTTP_BYTES('c', 'h', 'u', 'n', 'k', 'e', 'd', 0);
	} else if (HTTP_FIRST(word, 7) == HTTP_BYTES('e', 'x', 'p', 'e', 'c', 't', ':', 0)) {
		d->may_lack = !d->status;
	}
}

/* The rest of a head, or of a trailer, as far as it is in the buffer. Returns 1 at its end. */
static inline u32 read_fields(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u32 length;

	for (u32 step = 0; step < HTTP_STEPS; step++) {
		if (b->at >= b->end)
			return 0;
		if (!look(b))
			continue;
		if (b->newline >= b->end) {
			b->at = b->end;
			return 0;
		}
		length = b->newline - b->line;
		if (!d->long_line && (!length || (length == 1 && http_byte(b, b->line) == '\r'))) {
			b->line = b->at;
			return 1;
		}
		if (!d->long_line)
			read_field(b, d);
		d->long_line = 0;
		b->line = b->at;
	}
	return 0;
}

/* The line goes on beyond the buffer, and it does not fit in what is carried over. */
static inline void pass_long_line(volatile struct http_buffer *b, volatile struct http_socket *socket,
				  volatile struct http_direction *d)
{
	u64 word = http_word(b, b->line) | HTTP_LOWER, behind = http_word(b, b->line + 8) | HTTP_LOWER;

	if (d->long_line || b->end - b->line <= HTTP_CARRY)
		return;
	d->long_line = 1;
	if (d->state == HTTP_AT_CHUNK)
		http_fail(b, d);
	if (d->state == HTTP_AT_START) {
		begin_line(b, d);
		if (!socket->role && !d->method && !d->status)
			http_fail(b, d);
		else if (!d->status)
			log_begin(b, socket, d);
	} else if ((word == HTTP_BYTES('c', 'o', 'n', 't', 'e', 'n', 't', '-') &&
		    HTTP_FIRST(behind, 7) == HTTP_BYTES('l', 'e', 'n', 'g', 't', 'h', ':', 0)) ||
		   (word == HTTP_BYTES('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') &&
		    behind == HTTP_BYTES('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n'))) {
		d->is_coded = 1;
	}
}

/* One buffer, or one message. Returns 0 when there is nothing more to do. */
static inline u32 http_round(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
			     volatile struct http_direction *d, volatile struct http_direction *other, u32 ingress)
{
	volatile struct http_buffer *b = buffer;

	if (d->body && !d->is_open)
		skip_body(b, d);
	if (b->at >= b->end && !fill_buffer(skb, buffer))
		return 0;
	if (d->is_open) {
		open_body(b, socket, d);
		return 1;
	}
	if (d->state == HTTP_AT_START || d->state == HTTP_AT_CHUNK) {
		if (!find_newline(b)) {
			b->at = b->end;
			pass_long_line(b, socket, d);
			return !b->is_over;
		}
		if (d->state == HTTP_AT_CHUNK)
			read_chunk(b, d);
		else
			read_first_line(b, socket, d, other, ingress);
		d->long_line = 0;
		b->line = b->at;
	}
	if (d->state == HTTP_IN_HEAD || d->state == HTTP_IN_TRAILER) {
		b->length_at = 0;
		b->has_ended = read_fields(b, d);
		if (b->length_at) {
			read_number(b, b->length_at, 10);
			d->length = b->number;
			d->has_length = b->digits;
			d->is_coded |= !b->digits;
			b->length_at = 0;
		}
		if (b->has_ended) {
			if (d->state == HTTP_IN_HEAD) {
				end_head(b, socket, d);
			} else {
				d->state = HTTP_AT_START;
				body_ends(b, d, d->body_size);
			}
			leave_answer(b, socket, d, other);
		} else if (b->at >= b->end) {
			pass_long_line(b, socket, d);
		}
	}
	return !b->is_over;
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

static inline void keep_rest(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	d->carried = 0;
	if (!d->lost && b->line < b->end)
		d->carried = copy_tail(b, (volatile u64 *)d->carry);
}

static inline void begin_buffer(volatile struct http_buffer *b, volatile struct http_direction *d, u32 offset,
				u32 length, u32 is_short)
{
	volatile u64 *from = (volatile u64 *)d->carry, *to = (volatile u64 *)b->bytes;

	if (d->carried) {
#pragma unroll
		for (int word = 0; word < HTTP_CARRY / 8; word++)
			to[word] = from[word];
	}
	b->now_ns = bpf_ktime_get_ns();
	b->line = HTTP_CARRY - d->carried;
	b->at = HTTP_CARRY;
	b->end = HTTP_CARRY;
	b->offset = offset;
	b->left = length;
	b->window = is_short ? HTTP_SHORT_WINDOW : HTTP_WINDOW;
	b->calls = 0;
	b->is_over = 0;
	b->answers = 0;
	b->pipelined = 0;
	b->gap = 0;
	b->no_request = 0;
#ifdef WITH_HTTP_LOG
	b->heads = 0;
	b->payload = offset;
#endif
#ifdef WITH_HTTP_BODIES
	b->bodies_ended = 0;
#endif
	if (d->state != HTTP_AT_START || !d->carried)
		d->started_ns = b->now_ns;
}

/* A socket that has not spoken HTTP yet is asked for it a few times only. */
static inline void miss(volatile struct http_socket *socket, u32 ingress)
{
	if (socket->missed != ingress + 1)
		socket->misses_in_a_row = 0;
	socket->missed = ingress + 1;
	socket->misses_in_a_row += 1;
	socket->misses += 1;
	if (socket->misses >= HTTP_MISSES)
		socket->is_off = 1;
}

static inline u32 is_tired(volatile struct http_socket *socket, u32 ingress)
{
	return !socket->role && socket->missed == ingress + 1 && socket->misses_in_a_row >= HTTP_MISSES_IN_A_ROW;
}

/* Is there something to read at the beginning of what is new in this direction? Which role its sender has is known, or
 * its first line will tell. */
static inline u32 may_begin(volatile struct http_socket *socket, u32 ingress)
{
	u32 carries_requests = socket->role == (ingress ? HTTP_SERVER : HTTP_CLIENT);

	if (is_tired(socket, ingress))
		return 0;
	if (!socket->role)
		return 1;
	if (carries_requests && socket->is_hopeless)
		return 1;
	return carries_requests && !socket->is_pipelined && socket->first == socket->next && !socket->beyond;
}

/* As tcp_sequence() in net/ipv4/tcp_input.c: the hook sees what the socket will refuse, too. */
static inline u32 is_in_window(struct packet *p, u32 start)
{
	struct tcp_sock *tcp;
	u32 acknowledged = 0, window = 0;

	if (!p->is_connection)
		return 1;
	tcp = bpf_skc_to_tcp_sock(p->sk);
	if (!tcp)
		return 0;
	read_kernel(acknowledged, tcp, struct tcp_sock, rcv_wup);
	read_kernel(window, tcp, struct tcp_sock, rcv_wnd);
	return (s32)(start - acknowledged - window) <= 0;
}

/* Sets where in the segment to begin to read; 0 where there is nothing to. */
static inline u32 is_new(struct packet *p, volatile struct http_socket *socket, volatile struct http_direction *d,
			 u32 start, u32 end, u32 *passed)
{
	u32 ingress = p->ingress;
	s32 gap = start - d->position;

	*passed = 0;
	if ((s32)(end - d->position) <= 0 || (ingress && gap > 0 && !is_in_window(p, start)))
		return 0;
	if (d->lost) {
		body_passes(d, end);
		d->position = end;
		if (gap < 0 || !may_begin(socket, ingress)) {
			if (socket->is_pipelined)
				d->lost = HTTP_PASSED;
			return 0;
		}
		d->is_guess = d->lost;
		d->lost = 0;
		return 1;
	}
	if (gap <= 0) {
		*passed = -gap;
		return 1;
	}
	if (d->body >= gap + d->carried) {
		d->body -= gap + d->carried;
		d->carried = 0;
		d->is_open = 0;
		return 1;
	}
	if (!ingress) { /* nothing leaves before its turn: it has passed unseen */
		d->position = end;
		lose_place(d, HTTP_PASSED);
		return 0;
	}
	if (d->ahead_from == d->ahead_to) {
		d->ahead_from = start;
		d->ahead_to = end;
	}
	if ((s32)(start - d->ahead_from) < 0)
		d->ahead_from = start;
	if ((s32)(end - d->ahead_to) > 0)
		d->ahead_to = end;
	return 0;
}

/* Behind the segment and the body's part that is still to come. */
static inline void go_on(volatile struct http_direction *d, u32 end)
{
	u64 jump = d->body < HTTP_JUMP ? d->body : HTTP_JUMP;

	if (d->is_open)
		jump = 0;
	d->body -= jump;
	end += (u32)jump;
	if (d->ahead_from != d->ahead_to) {
		if ((s32)(end - d->ahead_to) >= 0) {
			d->ahead_from = 0;
			d->ahead_to = 0;
		} else if ((s32)(end - d->ahead_from) >= 0 && !d->body) {
			lose_place(d, HTTP_PASSED);
		}
	}
	if (!d->lost || (s32)(end - d->position) > 0)
		d->position = end;
}

/* Returns 1 if there is more to read. */
static inline u32 go_rounds(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
			    u32 ingress)
{
	volatile struct http_direction *d = &socket->directions[ingress], *other = &socket->directions[!ingress];
	volatile struct http_buffer *b = buffer;

	for (u32 round = 0; round < HTTP_ROUNDS; round++) {
		if (!http_round(skb, buffer, socket, d, other, ingress))
			break;
	}
	if (d->body && !d->is_open)
		skip_body(b, d);
	return !b->is_over && (b->left || b->at < b->end);
}

/* Packets come in before the socket is locked (net/ipv4/tcp_ipv4.c: tcp_v4_rcv), so two CPUs may have one each of the
 * same direction. What one of them reads the other would spoil: it leaves, and its segment has passed unread. */
static inline u32 take_direction(volatile struct http_direction *d)
{
	__sync_fetch_and_add(&d->readers, 1);
	if (d->readers == 1)
		return 1;
	d->collided = 1;
	__sync_fetch_and_add(&d->readers, -1);
	return 0;
}

static inline void leave_direction(volatile struct http_direction *d)
{
	if (d->collided) {
		d->collided = 0;
		lose_place(d, HTTP_PASSED);
	}
	__sync_fetch_and_add(&d->readers, -1);
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

/* Are requests only counted here? */
static inline u32 is_skimmed(volatile struct http_socket *socket, volatile struct http_direction *d, u32 ingress)
{
	return (socket->beyond || socket->is_hopeless) && socket->role == (ingress ? HTTP_SERVER : HTTP_CLIENT) &&
	       d->state <= HTTP_IN_HEAD && !d->is_open;
}

static inline void skim_first_line(volatile struct http_buffer *b, volatile struct http_socket *socket,
				   volatile struct http_direction *d, volatile struct http_direction *other)
{
	u32 newline = b->newline, line = b->line;

	if (newline != line)
		newline -= http_byte(b, newline - 1) == '\r';
	if (newline == line)
		return;
	if (!d->long_line)
		d->method = http_method(http_word(b, line));
	d->status = 0;
	d->has_length = 0;
	d->is_coded = 0;
	d->is_chunked = 0;
	d->may_lack = 0;
	if (newline - line < 12 || !is_http_version(http_word(b, newline - 8)) || http_byte(b, newline - 9) != ' ') {
		http_fail(b, d);
		return;
	}
	d->state = HTTP_IN_HEAD;
	d->head = 0;
	b->head = 0;
	open_request(b, socket, other, d->started_ns, d->method);
	d->started_ns = b->now_ns;
	body_begins(d);
}

/* As many of the first seven bytes as are digits, and then no more. */
static inline u32 count_digits(u64 word)
{
	word ^= 0x3030303030303030ULL;
	return first_byte((((word & 0x007f7f7f7f7f7f7fULL) + 0x0076767676767676ULL) | word | 1ULL << 63) &
			  0x8080808080808080ULL);
}

/* Eight digits' values as one number, the first one in the lowest byte: pairs, then fours, then all. */
static inline u64 decimal(u64 word)
{
	word = (word * 10 + (word >> 8)) & 0x00ff00ff00ff00ffULL;
	word = (word * 100 + (word >> 16)) & 0x0000ffff0000ffffULL;
	return (u32)(word * 10000 + (word >> 32));
}

/* As read_number(), up to seven digits a step. */
static inline void skim_digits(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u32 at = b->length_at, digits = b->digits, count, places;
	u64 word;

	if (!digits && is_space(http_byte(b, at)))
		at += 1;
	word = http_word(b, at);
	count = count_digits(word);
	places = 56 - 8 * count; /* a one, and so many zeros; the digits, and so many zeros before them */
	b->number = b->number * decimal(1ULL << places) + decimal((word ^ 0x3030303030303030ULL) << 8 << places);
	digits += count;
	b->digits = digits;
	b->length_at = at + count;
	if (count == 7 || (!digits && is_space((u8)word)))
		return;
	d->length = b->number;
	d->has_length = digits && digits <= HTTP_PLACES;
	d->is_coded |= !d->has_length;
	b->length_at = 0;
}

/* A line, or what of it is in the buffer, with the head's end where that follows. Returns 0 where there is nothing more
 * to read, or it is no head. */
static inline u32 skim(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
		       volatile struct http_direction *d, volatile struct http_direction *other)
{
	volatile struct http_buffer *b = buffer;
	u32 length, has_ended = 0;

	if (b->length_at) {
		skim_digits(b, d);
		return 1;
	}
	if (d->body)
		skip_body(b, d);
	if (b->at >= b->end) {
		pass_long_line(b, socket, d);
		return !b->is_over && fill_buffer(skb, buffer);
	}
	if (!look(b))
		return 1;
	if (b->newline >= b->end) {
		b->at = b->end;
		return 1;
	}
	length = b->newline - b->line;
	if (d->state == HTTP_AT_START) {
		skim_first_line(b, socket, d, other);
	} else if (!d->long_line) {
		has_ended = !length || (length == 1 && http_byte(b, b->line) == '\r');
		b->number = 0;
		b->digits = 0;
		read_field(b, d);
	}
	d->long_line = 0;
	b->line = b->at;
	if (!has_ended) {
		if (d->state != HTTP_IN_HEAD || b->length_at || b->end - b->at < 2 ||
		    (u16)http_word(b, b->at) != ('\r' | '\n' << 8))
			return !b->is_over;
		b->at += 2;
		b->line = b->at;
	}
	end_head(b, socket, d);
	return !b->is_over && d->state == HTTP_AT_START && !d->is_open;
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

/* As follow(), from where that left off: each call reads HTTP_ROUNDS more, and the kernel allows for 33 calls. */
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
	if (go_rounds(skb, buffer, socket, ingress)) {
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
	if (go_rounds(skb, buffer, socket, ingress)) {
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

static inline u32 http_end(struct sock *sk)
{
	int error = 0;

	read_kernel(error, sk, struct sock, sk_err);
	switch (error) {
	case 0:
		return HTTP_CLOSED;
	case HTTP_ERRNO_PIPE:
	case HTTP_ERRNO_ABORTED:
	case HTTP_ERRNO_RESET:
		return HTTP_RESET;
	case HTTP_ERRNO_TIMED_OUT:
		return HTTP_TIMEOUT;
	default:
		return HTTP_ERROR_UNKNOWN;
	}
}

/* Requests that wait for an answer have none; but where answers could not be read, they may have had one. */
static inline void end_requests(struct sock *sk, struct http_socket *socket)
{
	u32 waiting = socket->next - socket->first;
	u32 answers = socket->role == HTTP_CLIENT;
	u32 is_lost = answers ? socket->directions[1].lost : socket->directions[0].lost;
	struct http_buffer *buffer = take_buffer();
	struct http_key key = {};
	u64 now_ns;

	if (is_lost || socket->is_hopeless || !buffer) {
		lose_requests(0, waiting + socket->beyond, 0);
	} else {
		now_ns = bpf_ktime_get_ns();
		log_end(sk, buffer, socket, http_end(sk));
		for (u32 open = 0; open < HTTP_DEPTH; open++) {
			HTTP_FORGET(waiting);
			if (open >= waiting)
				break;
			key.cgroup_id = socket->cgroup_id;
			key.role = socket->role;
			key.status = 0;
			key.method = socket->open[(socket->first + open) % HTTP_DEPTH].method;
			key.error = http_end(sk);
			count_request(buffer, &key, &socket->flow,
				      now_ns - socket->open[(socket->first + open) % HTTP_DEPTH].started_ns);
		}
		lose_requests(socket->beyond, 0, 0);
	}
	socket->first = socket->next;
	socket->beyond = 0;
	if (buffer)
		__sync_fetch_and_add(&buffer->in_use, -1);
}

/* ctx: socket, old state, new state (include/trace/events/sock.h) */
static inline void end_socket(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct http_socket *socket;
#if HTTP_KEEPS_COPIES
	u64 cookie = 0;
#endif

	if (ctx[2] != STATE_CLOSE || !is_tcp(sk))
		return;
#if HTTP_KEEPS_COPIES
	read_kernel(cookie, sk, struct sock, __sk_common.skc_cookie);
	socket = http_copies.lookup(&cookie);
#else
	socket = http_sockets.sk_storage_get(sk, 0, 0);
#endif
	if (!socket)
		return;
	if (socket->first != socket->next || socket->beyond)
		end_requests(sk, socket);
	socket->has_ended = 1;
#if HTTP_KEEPS_COPIES
	http_copies.delete(&cookie);
#endif
}

int on_http_end(u64 *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_end.lookup(&row);
	u64 start_ns = count_run(runs);

	end_socket(ctx);
	time_run(runs, start_ns);
	return 0;
}

/* Shown every change too, for those of which the first one's run is left out: on_state_left_out() in connections.bpf.c.
 * A socket that has ended has no open requests any more. */
int on_http_end_left_out(u64 *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_end_left_out.lookup(&row);
	u64 start_ns = count_run(runs);

	end_socket(ctx);
	time_run(runs, start_ns);
	return 0;
}

/* Where the answers have lost their place it is not known whether the request still waits. */
static inline u32 waits(struct http_socket *socket)
{
	u32 is_lost = socket->role == HTTP_CLIENT ? socket->directions[1].lost : socket->directions[0].lost;

	return socket->first != socket->next && !is_lost && !socket->is_hopeless && !socket->is_off;
}

/* ctx: walk, map, socket, its storage (kernel/bpf/bpf_sk_storage.c: struct bpf_iter__bpf_sk_storage_map). In the storage
 * the verifier allows no index that it does not know. */
int on_http_socket(u64 *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_http_socket.lookup(&row);
	u64 start_ns = count_run(runs);
	struct bpf_iter_meta *meta = (struct bpf_iter_meta *)ctx[0];
	struct http_socket *socket = (struct http_socket *)ctx[3];
	struct http_waiting waiting = {};
	u32 open;

	if (socket && waits(socket)) {
		waiting.cgroup_id = socket->cgroup_id;
		waiting.beyond = socket->beyond;
		waiting.role = socket->role;
		open = socket->next - socket->first;
#pragma unroll
		for (u32 slot = 0; slot < HTTP_DEPTH; slot++) {
			waiting.methods[slot] = HTTP_UNKNOWN;
			if ((slot - socket->first) % HTTP_DEPTH < open)
				waiting.methods[slot] = socket->open[slot].method;
		}
		bpf_seq_write(meta->seq, &waiting, sizeof(waiting));
	}
	time_run(runs, start_ns);
	return 0;
}
