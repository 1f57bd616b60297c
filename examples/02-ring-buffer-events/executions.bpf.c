// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which programs does each workload start, and when?
 *
 * Hook:  raw tracepoint sched_process_exec: once for each execve() that succeeded.
 * Owner: the cgroup of the task.
 * Tells: the path as it was given to execve(), as a record in a ring buffer that wakes nobody. No arguments: secrets
 *        stand there.
 * Blind: what follows the first 255 bytes of a path.
 */
#include "net.h"

#ifndef __VMLINUX_H__
#include <linux/binfmts.h>
#endif

#define MAX_PATH_BYTES 256

/* 64 pages of 4 KiB hold 910 records: five seconds, the default time between two drains, of 182 starts each second. */
#define RING_PAGES 64

struct execution {
	u64 time_ns;
	u64 cgroup_id;
	u32 process;
	u32 pad;
	char path[MAX_PATH_BYTES];
};

struct executions_books {
	u64 seen;
	u64 ring_full;
};

BPF_RINGBUF_OUTPUT(executions, RING_PAGES);
BPF_PERCPU_ARRAY(books_executions, struct executions_books, 1);

/* args: task, its number before, the program (include/trace/events/sched.h) */
int on_execution(struct bpf_raw_tracepoint_args *ctx)
{
	struct executions_books *books;
	struct execution *event;
	void *path = 0;
	int row = 0;

	books = books_executions.lookup(&row);
	if (!books)
		return 0;
	__sync_fetch_and_add(&books->seen, 1);
	event = executions.ringbuf_reserve(sizeof(*event));
	if (!event) {
		__sync_fetch_and_add(&books->ring_full, 1);
		return 0;
	}
	event->time_ns = bpf_ktime_get_ns();
	event->cgroup_id = bpf_get_current_cgroup_id();
	event->process = bpf_get_current_pid_tgid() >> 32;
	event->pad = 0;
	__builtin_memset(event->path, 0, sizeof(event->path));
	read_kernel(path, ctx->args[2], struct linux_binprm, filename);
	bpf_probe_read_kernel_str(event->path, sizeof(event->path), path);
	executions.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}
