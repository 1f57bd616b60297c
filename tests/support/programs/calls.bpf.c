// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How many programs were started, by cgroup, and how deep is the type tree that the question needs? */
BPF_HASH(calls, u64, u64, 64);

int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	u64 cgroup_id = bpf_get_current_cgroup_id(), zero = 0, *count;

	if (task->mm->exe_file->f_inode->i_sb->s_magic == 0)
		return 0;
	count = calls.lookup_or_try_init(&cgroup_id, &zero);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}
