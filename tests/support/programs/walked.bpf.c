// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which sockets were open already when the programs started? Those with one local port. */
BPF_HASH(walked, u64, u64, 64);

/* ctx: meta, task, descriptor, file (kernel/bpf/task_iter.c) */
int on_open_socket(u64 *ctx)
{
	void *file = (void *)ctx[3];
	void *socket;
	struct sock *sk = 0;
	u64 port, zero = 0, *count;
	u16 local = 0;

	if (!file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	bpf_probe_read_kernel(&sk, sizeof(sk), socket + __builtin_offsetof(struct socket, sk));
	bpf_probe_read_kernel(&local, sizeof(local), (void *)sk + __builtin_offsetof(struct sock, __sk_common.skc_num));
	if (local != WALKED_PORT)
		return 0;
	port = local;
	count = walked.lookup_or_try_init(&port, &zero);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}
