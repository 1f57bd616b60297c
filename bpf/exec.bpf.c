// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which programs does a watched workload start, who starts them, and with which arguments?
 *
 * Hook:  raw tracepoint sched_process_exec: once for each execve() that succeeded; one look-up in a hash for those of
 *        workloads that nobody watches.
 * Owner: the cgroup of the task.
 * Tells: a record an exec, in a ring buffer that wakes nobody; what a workload has beyond its share is counted.
 * Blind: an execve() that failed; of arguments what is beyond ARGUMENTS_BYTES; what an interpreter reads then.
 */
#include "process.h"

/* Of all arguments: nearly all command lines are shorter. Programs may have 2 MB and more. */
#define ARGUMENTS_BYTES 1024

/* 8 MiB hold 26,000 records of 300 bytes: what 500 workloads of 10 a second have to say in five seconds. */
#ifndef EXEC_RING_PAGES
#define EXEC_RING_PAGES 2048
#endif

/* arguments: bytes that follow the process' parts, of arguments_size in all. */
struct exec_record {
	u64 arguments_size;
	u64 arguments;
	struct process_record process;
};

struct exec_books {
	u64 seen;
	u64 rate_limit;
	u64 ring_full;
};

BPF_RINGBUF_OUTPUT(execs, EXEC_RING_PAGES);
BPF_HASH(exec_watches, u64, struct security_watch, MAX_CGROUPS + 1);
/* A bucket that is forgotten is full again. */
BPF_TABLE("lru_hash", u64, u64, exec_buckets, MAX_CGROUPS);
/* What finds no room here is counted in the books alone. */
BPF_HASH(exec_suppressed, u64, u64, MAX_CGROUPS);
BPF_PERCPU_ARRAY(exec_scratches, struct exec_record, 1);
BPF_PERCPU_ARRAY(runs_on_exec, struct program_runs, 1);
BPF_PERCPU_ARRAY(books_exec, struct exec_books, 1);

/* A script's path as it was given, and the interpreter that its first line names. Where scripts are interpreters of
 * scripts, the first script and the last interpreter (fs/binfmt_script.c). */
static inline void tell_script(struct process_record *process, void *task, void *program)
{
	void *filename = 0, *interpreter = 0, *places = 0, *mount = 0, *dentry = 0;
	u8 first = 0;

	read_kernel(filename, program, struct linux_binprm, filename);
	read_kernel(interpreter, program, struct linux_binprm, interp);
	if (interpreter == filename)
		return;
	tell_text(process, PART_SCRIPT, filename);
	tell_text(process, PART_INTERPRETER, interpreter);
	copy_from_kernel(&first, sizeof(first), filename);
	if (first == '/')
		return;
	read_kernel(places, task, struct task_struct, fs);
	read_kernel(mount, places, struct fs_struct, pwd.mnt);
	read_kernel(dentry, places, struct fs_struct, pwd.dentry);
	tell_path(process, PART_DIRECTORY, mount, dentry);
}

/* Behind everything else. They are the program's first bytes in its own memory, written by the kernel just now. */
static inline void tell_arguments(struct exec_record *record, void *task)
{
	u64 start = 0, end = 0, size, place = told_bytes(&record->process);
	void *memory = 0;

	record->arguments = 0;
	read_kernel(memory, task, struct task_struct, mm);
	read_kernel(start, memory, struct mm_struct, arg_start);
	read_kernel(end, memory, struct mm_struct, arg_end);
	size = end - start;
	record->arguments_size = size;
	if (size > ARGUMENTS_BYTES)
		size = ARGUMENTS_BYTES;
	UNKNOWN_TO_COMPILER(size);
	UNKNOWN_TO_COMPILER(place);
	if (size > ARGUMENTS_BYTES || place > TOLD_BYTES)
		return;
	if (copy_from_process(record->process.bytes + place, size, (void *)start) == 0)
		record->arguments = size;
}

static inline void suppress(u64 cgroup_id, struct exec_books *books)
{
	u64 zero = 0, *count = exec_suppressed.lookup_or_try_init(&cgroup_id, &zero);

	__sync_fetch_and_add(&books->rate_limit, 1);
	if (count)
		__sync_fetch_and_add(count, 1);
}

static inline void tell_exec(struct security_watch *watch, u64 cgroup_id, void *task, void *program)
{
	u64 now_ns = bpf_ktime_get_ns(), size, zero = 0;
	struct exec_record *record;
	struct exec_books *books;
	int row = 0;

	books = books_exec.lookup(&row);
	record = exec_scratches.lookup(&row);
	if (!books || !record)
		return;
	__sync_fetch_and_add(&books->seen, 1);
	if (!take_token(watch, exec_buckets.lookup_or_try_init(&cgroup_id, &zero), now_ns)) {
		suppress(cgroup_id, books);
		return;
	}
	begin_process(&record->process, task, now_ns, cgroup_id);
	tell_script(&record->process, task, program);
	tell_arguments(record, task);
	size = offsetof(struct exec_record, process.bytes) + told_bytes(&record->process) + record->arguments;
	UNKNOWN_TO_COMPILER(size);
	if (size > sizeof(*record))
		size = sizeof(*record);
	if (execs.ringbuf_output(record, size, BPF_RB_NO_WAKEUP) < 0)
		__sync_fetch_and_add(&books->ring_full, 1);
}

/* args: task, its number before, the program (include/trace/events/sched.h) */
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u64 cgroup_id = bpf_get_current_cgroup_id(), others = 0, start_ns;
	struct security_watch *watch = exec_watches.lookup(&cgroup_id);
	struct program_runs *runs;
	int row = 0;

	if (!watch)
		watch = exec_watches.lookup(&others);
	if (!is_watched(watch))
		return 0;
	runs = runs_on_exec.lookup(&row);
	start_ns = count_run(runs);
	tell_exec(watch, cgroup_id, (void *)ctx->args[0], (void *)ctx->args[2]);
	time_run(runs, start_ns);
	return 0;
}
