// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* A program whose hook is what it does itself: the kernel leaves out the run inside it (since 6.1). */
BPF_HASH(nested, u64, u64, 64);

static inline void print(void)
{
	bpf_trace_printk("bpfleet test\n");
}

/* Of this test's programs only. */
int on_program(struct bpf_raw_tracepoint_args *ctx)
{
	if (bpf_get_current_cgroup_id() == NESTED_CGROUP)
		print();
	return 0;
}

int on_print(struct bpf_raw_tracepoint_args *ctx)
{
	u64 cgroup_id = bpf_get_current_cgroup_id(), zero = 0, *count;

	if (cgroup_id != NESTED_CGROUP)
		return 0;
	count = nested.lookup_or_try_init(&cgroup_id, &zero);
	if (count)
		__sync_fetch_and_add(count, 1);
	print();
	return 0;
}
