// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How often does each workload have files written to disk (fsync)?
 *
 * Hook:  raw tracepoint sys_enter: every system call of the node runs this; all but one are left at the first compare.
 * Owner: the cgroup of the calling task.
 * Counts: calls, whether or not they succeed.
 * Blind: fdatasync(), sync(), io_uring; 32-bit programs, whose calls have other numbers.
 */
#include "net.h"

struct fsyncs_books {
	u64 seen;
	u64 map_full;
};

BPF_HASH(fsyncs, u64, u64, MAX_CGROUPS);
BPF_PERCPU_ARRAY(books_fsyncs, struct fsyncs_books, 1);

/* args: registers, number of the call (include/trace/events/syscalls.h) */
int on_system_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct fsyncs_books *books;
	u64 cgroup_id, zero = 0, *calls;
	int row = 0;

	if (ctx->args[1] != FSYNC)
		return 0;
	books = books_fsyncs.lookup(&row);
	if (!books)
		return 0;
	__sync_fetch_and_add(&books->seen, 1);
	cgroup_id = bpf_get_current_cgroup_id();
	calls = fsyncs.lookup_or_try_init(&cgroup_id, &zero);
	if (calls)
		__sync_fetch_and_add(calls, 1);
	else
		__sync_fetch_and_add(&books->map_full, 1);
	return 0;
}
