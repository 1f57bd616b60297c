// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which processes are there, and in which cgroups? Thread group leaders only. */
#include "net.h"

struct process_row {
	u64 process;
	u64 cgroup_id;
};

/* ctx: meta, task (kernel/bpf/task_iter.c); no task at the walk's end. */
int on_process(u64 *ctx)
{
	struct seq_file *out = 0;
	void *meta = (void *)ctx[0], *task = (void *)ctx[1], *set = 0, *cgroup = 0, *node = 0;
	struct process_row row = {};
	u32 thread = 0, process = 0;

	if (!task)
		return 0;
	read_kernel(thread, task, struct task_struct, pid);
	read_kernel(process, task, struct task_struct, tgid);
	if (thread != process)
		return 0;
	read_kernel(set, task, struct task_struct, cgroups);
	read_kernel(cgroup, set, struct css_set, dfl_cgrp);
	read_kernel(node, cgroup, struct cgroup, kn);
	read_kernel(row.cgroup_id, node, struct kernfs_node, id);
	row.process = process;
	asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(out) : "r"(meta));
	bpf_seq_write(out, &row, sizeof(row));
	return 0;
}
