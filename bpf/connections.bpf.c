// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which TCP connections does each workload open and accept, how fast, why do they fail, how long do they live?
 *
 * Hook:  tracepoint inet_sock_set_state: sees every socket of every namespace, also those that never send, are never
 *        accepted or are older than the agent; 0.7 us a connection for both ends. As a BTF tracepoint what is known of
 *        a socket lies in its storage, for the packet programs too; before Linux 5.11, which does not allow that, and
 *        without BTF as a raw tracepoint, and it lies in a hash. Not cgroup/sock_release, which those kernels have with
 *        storage: it comes with close(), before the last bytes, the end's error and the true end.
 * Owner: the socket's cgroup.
 * Counts: accepted = the handshake is complete, whether or not the application calls accept(). Failed: the kernel's
 *        error; none = the application gave up (abandoned).
 * Blind: connects that fail before SYN_SENT (no route, no free port); the life of connections older than the agent.
 */

/* errno.h: what connect() fails with */
#define ERROR_NETWORK_UNREACHABLE 101
#define ERROR_RESET 104
#define ERROR_TIMED_OUT 110
#define ERROR_REFUSED 111
#define ERROR_HOST_UNREACHABLE 113

enum connection_failure {
	FAILURE_REFUSED,
	FAILURE_TIMEOUT,
	FAILURE_UNREACHABLE,
	FAILURE_RESET,
	FAILURE_ABANDONED,
	FAILURE_OTHER,
	FAILURES,
};

struct connection_flow {
	u64 events;
	u64 opened;
	u64 accepted;
	u64 closed;
	u64 activated;
	u64 deactivated;
	u64 failed[FAILURES];
};

struct connection_connects {
	u64 buckets[CONNECT_SECONDS_BUCKETS];
	u64 total_ns;
};

struct connection_lifetimes {
	u64 buckets[LIFETIME_SECONDS_BUCKETS];
	u64 total_ns;
};

struct connection_events_books {
	u64 seen;
	u64 map_full;
	u64 no_storage;
};

struct connect_durations_books {
	u64 seen;
	u64 map_full;
};

struct connection_lifetimes_books {
	u64 seen;
	u64 map_full;
};

BPF_HASH(connection_flows, struct flow_key, struct connection_flow, MAX_FLOWS);
BPF_HASH(connection_others, struct flow_key, struct connection_flow, 2 * MAX_CGROUPS); /* two families */
BPF_HASH(connection_connects, u64, struct connection_connects, MAX_CGROUPS);
BPF_HASH(connection_lifetimes, u64, struct connection_lifetimes, MAX_CGROUPS);
/* What new rows are made from: the stack has no room for one. */
BPF_ARRAY(connect_zeros, struct connection_connects, 1);
BPF_ARRAY(lifetime_zeros, struct connection_lifetimes, 1);
/* By the socket's address, from the first to the last change of its state: where storage is not to be had. */
BPF_HASH(connection_sockets, u64, struct packet_socket, MAX_FLOWS);
BPF_PERCPU_ARRAY(books_connection_events, struct connection_events_books, 1);
BPF_PERCPU_ARRAY(books_connect_durations, struct connect_durations_books, 1);
BPF_PERCPU_ARRAY(books_connection_lifetimes, struct connection_lifetimes_books, 1);
BPF_PERCPU_ARRAY(runs_on_state, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_state_left_out, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_state_by_address, struct program_runs, 1);

static inline struct connection_flow *connection_flow_of(struct flow_key *key)
{
	struct connection_flow zero = {}, *flow;
	struct connection_events_books *books;
	struct flow_key other;
	int row = 0;

	books = books_connection_events.lookup(&row);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	flow = connection_flows.lookup_or_try_init(key, &zero);
	if (!flow) {
		other = *key;
		forget_peer(&other);
		flow = connection_others.lookup_or_try_init(&other, &zero);
	}
	if (flow)
		__sync_fetch_and_add(&flow->events, 1);
	else if (books)
		__sync_fetch_and_add(&books->map_full, 1);
	return flow;
}

static inline u32 failure_of(struct sock *sk)
{
	int error = 0;

	read_kernel(error, sk, struct sock, sk_err);
	switch (error) {
	case 0:
		return FAILURE_ABANDONED;
	case ERROR_REFUSED:
		return FAILURE_REFUSED;
	case ERROR_TIMED_OUT:
		return FAILURE_TIMEOUT;
	case ERROR_HOST_UNREACHABLE:
	case ERROR_NETWORK_UNREACHABLE:
		return FAILURE_UNREACHABLE;
	case ERROR_RESET:
		return FAILURE_RESET;
	default:
		return FAILURE_OTHER;
	}
}

static inline void count_connect(u64 cgroup_id, u64 duration_ns)
{
	struct connection_connects *connects, *zeros = 0;
	struct connect_durations_books *books;
	u32 bucket = connect_seconds_bucket(duration_ns);
	int row = 0;

	books = books_connect_durations.lookup(&row);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	connects = connection_connects.lookup(&cgroup_id);
	if (!connects)
		zeros = connect_zeros.lookup(&row);
	if (!connects && zeros)
		connects = connection_connects.lookup_or_try_init(&cgroup_id, zeros);
	if (!connects || bucket >= CONNECT_SECONDS_BUCKETS) {
		if (books)
			__sync_fetch_and_add(&books->map_full, 1);
		return;
	}
	__sync_fetch_and_add(&connects->buckets[bucket], 1);
	__sync_fetch_and_add(&connects->total_ns, duration_ns);
}

static inline void count_lifetime(u64 cgroup_id, u64 lifetime_ns)
{
	struct connection_lifetimes *lifetimes, *zeros = 0;
	struct connection_lifetimes_books *books;
	u32 bucket = lifetime_seconds_bucket(lifetime_ns);
	int row = 0;

	books = books_connection_lifetimes.lookup(&row);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	lifetimes = connection_lifetimes.lookup(&cgroup_id);
	if (!lifetimes)
		zeros = lifetime_zeros.lookup(&row);
	if (!lifetimes && zeros)
		lifetimes = connection_lifetimes.lookup_or_try_init(&cgroup_id, zeros);
	if (!lifetimes || bucket >= LIFETIME_SECONDS_BUCKETS) {
		if (books)
			__sync_fetch_and_add(&books->map_full, 1);
		return;
	}
	__sync_fetch_and_add(&lifetimes->buckets[bucket], 1);
	__sync_fetch_and_add(&lifetimes->total_ns, lifetime_ns);
}

static inline void set_role(struct sock *sk, struct packet_socket *socket, u32 role)
{
	struct flow_key key = {};

	flow_of_socket(&key, sk, role);
	socket->role = role;
	remember(socket, &key);
}

static inline void on_connecting(struct sock *sk, struct packet_socket *socket)
{
	set_role(sk, socket, ROLE_CLIENT);
	socket->counted = 0;
	socket->started_ns = bpf_ktime_get_ns();
}

/* Who was connecting is the client, also where the agent did not see it begin; a client may pass SYN_RECV as well, when
 * both sides connect at once (RFC 9293 3.5). */
static inline void on_established(struct sock *sk, struct packet_socket *socket, u32 from)
{
	u64 now_ns = bpf_ktime_get_ns();
	struct connection_flow *flow;
	struct flow_key key;
	u32 role = from == STATE_SYN_SENT ? ROLE_CLIENT : socket->role;

	if (role != ROLE_CLIENT)
		role = ROLE_SERVER;
	if (socket->role != role)
		set_role(sk, socket, role);
	key = socket->key;
	flow = connection_flow_of(&key);
	if (flow) {
		if (role == ROLE_CLIENT)
			__sync_fetch_and_add(&flow->opened, 1);
		else
			__sync_fetch_and_add(&flow->accepted, 1);
		__sync_fetch_and_add(&flow->activated, 1);
	}
	if (role == ROLE_CLIENT && socket->started_ns)
		count_connect(key.cgroup_id, now_ns - socket->started_ns);
	socket->counted = 1;
	socket->started_ns = now_ns;
}

static inline void on_failed(struct sock *sk, struct packet_socket *socket)
{
	struct connection_flow *flow;
	struct flow_key key;
	u32 failure = failure_of(sk);

	if (socket->role != ROLE_CLIENT)
		set_role(sk, socket, ROLE_CLIENT);
	key = socket->key;
	flow = connection_flow_of(&key);
	if (flow && failure < FAILURES)
		__sync_fetch_and_add(&flow->failed[failure], 1);
	socket->started_ns = 0;
}

/* A socket without a key was never seen before: older than the agent. */
static inline void on_closed(struct sock *sk, struct packet_socket *socket)
{
	struct connection_flow *flow;
	struct flow_key key;

	if (!socket->key.cgroup_id)
		set_role(sk, socket, ROLE_UNKNOWN);
	key = socket->key;
	flow = connection_flow_of(&key);
	if (flow) {
		__sync_fetch_and_add(&flow->closed, 1);
		if (socket->counted)
			__sync_fetch_and_add(&flow->deactivated, 1);
	}
	if (socket->started_ns)
		count_lifetime(key.cgroup_id, bpf_ktime_get_ns() - socket->started_ns);
	socket->started_ns = 0;
	socket->counted = 0;
}

/* Of all changes, those that begin a connection, complete it or end it. */
static inline int is_followed(struct sock *sk, u32 from, u32 to)
{
	if (to != STATE_SYN_SENT && to != STATE_ESTABLISHED && to != STATE_CLOSE)
		return 0;
	if (to == STATE_CLOSE && (from == STATE_LISTEN || from == STATE_CLOSE))
		return 0;
	return is_tcp(sk);
}

static inline void lose_event(void)
{
	struct connection_events_books *books;
	int row = 0;

	books = books_connection_events.lookup(&row);
	if (!books)
		return;
	__sync_fetch_and_add(&books->seen, 1);
	__sync_fetch_and_add(&books->no_storage, 1);
}

static inline void on_state_change(struct sock *sk, struct packet_socket *socket, u32 from, u32 to)
{
	socket->state = to;
	if (to == STATE_SYN_SENT)
		on_connecting(sk, socket);
	else if (to == STATE_ESTABLISHED)
		on_established(sk, socket, from);
	else if (from == STATE_SYN_SENT || (from == STATE_SYN_RECV && socket->role == ROLE_CLIENT))
		on_failed(sk, socket);
	else if (from != STATE_SYN_RECV)
		on_closed(sk, socket);
}

/* ctx: socket, old state, new state (include/trace/events/sock.h) */
int on_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct packet_socket *socket;
	int row = 0;
	struct program_runs *runs = runs_on_state.lookup(&row);
	u64 start_ns = count_run(runs);

	if (is_followed(sk, ctx[1], ctx[2])) {
		socket = sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (socket && socket->state != ctx[2])
			on_state_change(sk, socket, ctx[1], ctx[2]);
	}
	time_run(runs, start_ns);
	return 0;
}

/* Since 6.1, and in updates of some kernels before, the kernel leaves out a run of a program that is running on that CPU
 * already (05b24ff9b2cf): a packet that comes in the middle of a connect() may change the state of another socket. So
 * every change is shown to a second program, which counts what the first has not. No softirq interrupts another, so they
 * are not both running. */
int on_state_left_out(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct packet_socket *socket;
	int row = 0;
	struct program_runs *runs = runs_on_state_left_out.lookup(&row);
	u64 start_ns = count_run(runs);

	if (is_followed(sk, ctx[1], ctx[2])) {
		socket = sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!socket)
			lose_event();
		else if (socket->state != ctx[2])
			on_state_change(sk, socket, ctx[1], ctx[2]);
	}
	time_run(runs, start_ns);
	return 0;
}

/* The kernels that this is for leave nothing out. On a newer one without BTF what is left out
 * is lost, and counted as such. */
int on_state_by_address(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	struct packet_socket zero = {}, *socket;
	u64 address = ctx->args[0];
	int row = 0;
	struct program_runs *runs = runs_on_state_by_address.lookup(&row);
	u64 start_ns = count_run(runs);

	if (is_followed(sk, ctx->args[1], ctx->args[2])) {
		socket = connection_sockets.lookup_or_try_init(&address, &zero);
		if (socket)
			on_state_change(sk, socket, ctx->args[1], ctx->args[2]);
		else
			lose_event();
		if (ctx->args[2] == STATE_CLOSE)
			connection_sockets.delete(&address);
	}
	time_run(runs, start_ns);
	return 0;
}
