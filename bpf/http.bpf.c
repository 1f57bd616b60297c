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
 * Parts: what is kept and counted is here; then, each on those before: http_buffer, http_places, http_pairing,
 *        http_heads, http_skimming, http_handshakes, http_following, http_ends; http_flows.
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

/* Requests of a connection that wait for their answer at once. */
#define HTTP_DEPTH 16

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
BPF_ARRAY(http_zeros, struct http_row, 1); /* what a new row is made from: the stack has no room for one */
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
