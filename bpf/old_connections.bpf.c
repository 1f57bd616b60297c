// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which connections are there already when the agent starts?
 *
 * Hook:  iter/task_file, walked twice: for who listens where, which tells servers' sockets from clients', then for the
 *        connections. 2 to 6 ms for 5,000 sockets. Second part of connections.bpf.c.
 * Blind: connections that no process holds: waiting to be accepted, or lingering.
 */

struct connection_listener {
	u64 namespace;
	u64 port;
};

BPF_TABLE("lru_hash", struct connection_listener, u64, connection_listeners, MAX_CGROUPS);

/* The verifier follows a pointer as a socket's only if it is loaded directly: BCC would turn `->` into a kernel read. */
static inline struct sock *socket_of_file(void *file)
{
	struct sock *sk;
	void *socket;

	if (!file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(sk) : "r"(socket), "i"(offsetof(struct socket, sk)));
	return sk;
}

static inline u64 socket_namespace(struct sock *sk)
{
	u64 net = 0;

	read_kernel(net, sk, struct sock, __sk_common.skc_net);
	return net;
}

static inline struct connection_listener local_end(struct sock *sk)
{
	struct connection_listener end = {};

	end.namespace = socket_namespace(sk);
	end.port = socket_local_port(sk);
	return end;
}

/* ctx: meta, task, descriptor, file (kernel/bpf/task_iter.c). A listener of MPTCP accepts plain TCP as well. */
int on_listening_socket(u64 *ctx)
{
	struct connection_listener listener;
	struct sock *sk;
	u32 protocol;
	u64 yes = 1;

	if (!ctx[3])
		return 0;
	sk = socket_behind((void *)ctx[3]);
	if (!sk || tcp_state_of(sk) != STATE_LISTEN)
		return 0;
	protocol = internet_protocol(sk);
	if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_MPTCP)
		return 0;
	listener = local_end(sk);
	connection_listeners.update(&listener, &yes);
	return 0;
}

static inline int is_old_connection(struct sock *sk)
{
	u32 state;

	if (!sk || !is_tcp(sk))
		return 0;
	state = tcp_state_of(sk);
	return state != STATE_LISTEN && state != STATE_CLOSE && state != STATE_SYN_RECV;
}

/* Once for a connection, however many descriptors lead to it. */
static inline void note_old_connection(struct sock *sk, struct packet_socket *socket)
{
	struct connection_listener end = local_end(sk);
	struct connection_flow *flow;
	struct flow_key key;

	if (!socket || socket->counted)
		return;
	if (!socket->role)
		set_role(sk, socket, connection_listeners.lookup(&end) ? ROLE_SERVER : ROLE_CLIENT);
	if (tcp_state_of(sk) == STATE_SYN_SENT) /* not a connection yet */
		return;
	key = socket->key;
	socket->counted = 1;
	flow = connection_flow_of(&key);
	if (flow)
		__sync_fetch_and_add(&flow->activated, 1);
}

int on_old_socket(u64 *ctx)
{
	struct sock *sk = socket_of_file((void *)ctx[3]);

	if (is_old_connection(sk))
		note_old_connection(sk, sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE));
	return 0;
}

int on_old_socket_by_address(u64 *ctx)
{
	struct packet_socket zero = {};
	struct sock *sk;
	u64 address;

	if (!ctx[3])
		return 0;
	sk = socket_behind((void *)ctx[3]);
	if (!is_old_connection(sk))
		return 0;
	address = (u64)sk;
	note_old_connection(sk, connection_sockets.lookup_or_try_init(&address, &zero));
	return 0;
}
