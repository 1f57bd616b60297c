// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How many packets had the sockets that have ended? The packet programs count in the socket's storage, and the
 * program at its end reads it there. */
struct end_state {
	u64 cgroup_id;
	u64 packets;
};

struct end_row {
	u64 sockets;
	u64 packets;
};

BPF_SK_STORAGE(end_states, struct end_state);
BPF_HASH(ends, u64, struct end_row, 64);

static inline void on_packet_ends(struct __sk_buff *skb, struct packet *p)
{
	struct end_state *state = end_states.sk_storage_get(p->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!state)
		return;
	state->cgroup_id = p->cgroup_id;
	__sync_fetch_and_add(&state->packets, 1);
}

/* ctx: socket, old state, new state (include/trace/events/sock.h) */
int on_end(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct end_row zero = {}, *row;
	struct end_state *state;
	u64 from = ctx[1], to = ctx[2];

	if (to != TCP_CLOSE || from == TCP_LISTEN)
		return 0;
	state = end_states.sk_storage_get(sk, 0, 0);
	if (!state)
		return 0;
	row = ends.lookup_or_try_init(&state->cgroup_id, &zero);
	if (!row)
		return 0;
	__sync_fetch_and_add(&row->sockets, 1);
	__sync_fetch_and_add(&row->packets, state->packets);
	return 0;
}
