// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which requests never get an answer, and which wait for one now?
 *
 * Hook:  BTF tracepoint inet_sock_set_state, shown to two programs; the storage of all sockets is walked when user space
 *        asks. Part of http.bpf.c.
 */

/* include/uapi/asm-generic/errno.h: what a socket ends with */
#define HTTP_ERRNO_PIPE 32
#define HTTP_ERRNO_ABORTED 103
#define HTTP_ERRNO_RESET 104
#define HTTP_ERRNO_TIMED_OUT 110

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
