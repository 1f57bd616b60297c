// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which process looks into another one, or asks to be looked into?
 *
 * Hook:  fexit of the system call's own function (and of the one for 32-bit programs). Else, by number, in
 *        syscalls.bpf.c.
 * Tells: attach, seize and traceme, the other process by its id on the machine, its executable's name and its cgroup.
 *        Which one it is, is looked up by the id that was given, in the caller's pid namespace.
 * Owner: the cgroup of the tracer; for traceme that of the process that asks to be traced, by its parent.
 * Blind: children that a tracer gets because their parent is traced; process_vm_readv and process_vm_writev; other uses
 *        of what /proc tells (opening /proc/PID/mem is an open).
 */

/* 2 MiB hold 6,500 records of 300 bytes: 1,300 a second where the kernel is read every five seconds. */
#define PTRACE_RING_PAGES 512

/* uapi/linux/ptrace.h */
#define REQUEST_TRACEME 0
#define REQUEST_ATTACH 16
#define REQUEST_SEIZE 0x4206

/* lib/xarray.c: 64 slots a node, marked by the lowest bits of what points to it. Four levels are all process ids that
 * there can be (PID_MAX_LIMIT is 4 million); one more is for good measure. */
#define NODE_MARK 2
#define NODE_MARKS 3
#define NODE_SLOTS 64
#define MAX_LEVELS 5

/* Rows of the scratch: a program of the one may be interrupted by one of another. */
enum ptrace_program { PTRACE_OF_SYSTEM_CALL, PTRACE_OF_FUNCTION, PTRACE_OF_COMPAT, PTRACE_PROGRAMS };

/* target_pid: 0 where no such process was found; target_vpid: as it was given. */
struct ptrace_record {
	s64 result;
	u64 target_cgroup_id;
	u32 request;
	u32 target_pid;
	u32 target_vpid;
	u32 pad;
	struct process_record process;
};

struct ptrace_books {
	u64 seen;
	u64 rate_limit;
	u64 ring_full;
};

BPF_RINGBUF_OUTPUT(ptraces, PTRACE_RING_PAGES);
BPF_HASH(ptrace_watches, u64, struct security_watch, MAX_CGROUPS + 1);
/* A bucket that is forgotten is full again. */
BPF_TABLE("lru_hash", u64, u64, ptrace_buckets, MAX_CGROUPS);
/* What finds no room here is counted in the books alone. */
BPF_HASH(ptrace_suppressed, u64, u64, MAX_CGROUPS);
BPF_PERCPU_ARRAY(ptrace_scratches, struct ptrace_record, PTRACE_PROGRAMS);
BPF_PROG_ARRAY(ptrace_calls, 1);
BPF_PERCPU_ARRAY(books_ptrace, struct ptrace_books, 1);

/* Null where nobody watches. */
static inline struct security_watch *ptrace_watch(u64 cgroup_id)
{
	struct security_watch *watch = ptrace_watches.lookup(&cgroup_id);
	u64 others = 0;

	if (!watch)
		watch = ptrace_watches.lookup(&others);
	return is_watched(watch) ? watch : 0;
}

/* The pid namespace that a task lives in (kernel/pid.c: ns_of_pid(task_pid(task))). */
static inline void *active_namespace(void *task)
{
	struct upid own = {};
	void *pid = 0;
	u32 level = 0;

	read_kernel(pid, task, struct task_struct, thread_pid);
	read_kernel(level, pid, struct pid, level);
	copy_from_kernel(&own, sizeof(own), pid + offsetof(struct pid, numbers) + (u64)level * sizeof(own));
	return own.ns;
}

/* The task of an id in a pid namespace, null if there is none: what find_task_by_pid_ns() does. */
static inline void *task_by_id(void *namespace, u32 number)
{
	u64 entry = 0;
	void *task = 0;

	read_kernel(entry, namespace, struct pid_namespace, idr.idr_rt.xa_head);
#pragma clang loop unroll(disable)
	for (u32 level = 0; level < MAX_LEVELS && (entry & NODE_MARKS) == NODE_MARK; level++) {
		void *node = (void *)(entry - NODE_MARK);
		u64 slot;
		u8 shift = 0;

		UNKNOWN_TO_COMPILER(level);
		read_kernel(shift, node, struct xa_node, shift);
		slot = number >> (shift & 31);
		if (level == 0 && slot >= NODE_SLOTS)
			return 0;
		entry = 0;
		copy_from_kernel(&entry, sizeof(entry),
				 node + offsetof(struct xa_node, slots) + slot % NODE_SLOTS * sizeof(entry));
	}
	if (!entry || entry & NODE_MARKS)
		return 0;
	read_kernel(task, (void *)entry, struct pid, tasks[PIDTYPE_PID].first);
	return task ? task - offsetof(struct task_struct, pid_links[PIDTYPE_PID]) : 0;
}

static inline void tell_ptrace(void *regs, int result, u32 compat, void *task, u32 row)
{
	u64 cgroup_id = bpf_get_current_cgroup_id(), now_ns, zero = 0, *suppressed;
	u64 request = argument(regs, compat, 0);
	struct ptrace_record *record;
	struct security_watch *watch;
	struct ptrace_books *books;
	void *target = task;
	int first = 0;

	if (request != REQUEST_ATTACH && request != REQUEST_SEIZE && request != REQUEST_TRACEME)
		return;
	watch = ptrace_watch(cgroup_id);
	record = ptrace_scratches.lookup(&row);
	books = books_ptrace.lookup(&first);
	if (!watch || !record || !books)
		return;
	__sync_fetch_and_add(&books->seen, 1);
	now_ns = bpf_ktime_get_ns();
	if (!take_token(watch, ptrace_buckets.lookup_or_try_init(&cgroup_id, &zero), now_ns)) {
		__sync_fetch_and_add(&books->rate_limit, 1);
		suppressed = ptrace_suppressed.lookup_or_try_init(&cgroup_id, &zero);
		if (suppressed)
			__sync_fetch_and_add(suppressed, 1);
		return;
	}
	record->result = result;
	record->request = request;
	record->target_vpid = 0;
	record->target_pid = 0;
	record->target_cgroup_id = 0;
	record->pad = 0;
	if (request != REQUEST_TRACEME) {
		record->target_vpid = argument(regs, compat, 1);
		target = task_by_id(active_namespace(task), record->target_vpid);
	}
	begin_process(&record->process, task, now_ns, cgroup_id);
	if (target) {
		read_kernel(record->target_pid, target, struct task_struct, tgid);
		record->target_cgroup_id = cgroup_of(target);
		tell_task(&record->process, PART_TARGET, target);
	}
	if (ptraces.ringbuf_output(record, offsetof(struct ptrace_record, process.bytes) + told_bytes(&record->process),
				   BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&books->ring_full, 1);
}

static inline void ptrace_ended(struct system_call *call)
{
	if (call->number == NR_PTRACE || call->number == NR32_PTRACE)
		ptrace_calls.call(call->ctx, 0);
}

/* args: registers, result (include/trace/events/syscalls.h) */
int on_ptrace_call(struct bpf_raw_tracepoint_args *ctx)
{
	void *regs = (void *)ctx->args[0], *task = (void *)bpf_get_current_task();
	u32 compat = is_32_bit(task);

	if (number_of(regs) == (compat ? NR32_PTRACE : NR_PTRACE))
		tell_ptrace(regs, (int)ctx->args[1], !!compat, task, PTRACE_OF_SYSTEM_CALL);
	return 0;
}

/* args: registers; the result (kernel/ptrace.c) */
int on_ptrace(u64 *ctx)
{
	tell_ptrace((void *)ctx[0], (int)ctx[1], 0, (void *)bpf_get_current_task(), PTRACE_OF_FUNCTION);
	return 0;
}

int on_compat_ptrace(u64 *ctx)
{
	tell_ptrace((void *)ctx[0], (int)ctx[1], 1, (void *)bpf_get_current_task(), PTRACE_OF_COMPAT);
	return 0;
}
