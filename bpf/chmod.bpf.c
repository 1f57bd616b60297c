// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Whose mode is changed, from what to what?
 *
 * Hook:  fentry and fexit of chmod_common, where chmod, fchmod, fchmodat and fchmodat2 meet, with the path that they have
 *        found. Else, by number, in syscalls.bpf.c, with sys_enter for fchmod's old mode: a second hook that every
 *        process pays for, while this collector runs.
 * Tells: the path by its directories and mounts, and both modes. Without function tracing that is so for fchmod; for the
 *        others the name as it was given and the directory that it begins at, and no old mode: at a system call's entry
 *        the path has not been looked up, at its exit the mode is the new one.
 * Owner: the cgroup of the task.
 * Blind: with function tracing, calls that find no file. Without: where symbolic links led to. A mode given where a file
 *        is made (open, mkdir, mknod), and io_uring, which has no request for this.
 */

/* 4 MiB hold 13,000 records of 300 bytes: 2,600 a second where the kernel is read every five seconds. */
#define CHMOD_RING_PAGES 1024

/* Components that policies ask for: dozens. */
#define MAX_CHMOD_NAMES 1024

/* Calls that are under way; where one is forgotten the old mode is not told. */
#define MAX_CHMODS 1024

#define MODE_BITS 07777
#define MODE_UNKNOWN 0xffff

/* In the order of agent.collectors.chmod.CALLS. */
enum chmod_call { CHANGES_NOTHING, CHANGES_BY_CHMOD, CHANGES_BY_FCHMOD, CHANGES_BY_FCHMODAT, CHANGES_BY_FCHMODAT2 };

/* Rows of the scratch: a program of the one may be interrupted by one of another. */
enum chmod_program { CHMOD_OF_SYSTEM_CALL, CHMOD_OF_FUNCTION, CHMOD_PROGRAMS };

struct chmod_record {
	s64 result;
	u32 call;
	u16 mode;
	u16 old_mode;
	struct process_record process;
};

/* dentry: null where it is not known; then name, in the process' memory, and where it begins. */
struct changing {
	void *task;
	void *mount;
	void *dentry;
	void *name;
	int directory;
	int result;
	u32 call;
	u16 mode;
	u16 old_mode;
};

struct chmod_scratch {
	struct changing asked;
	struct name_search search;
	struct chmod_record record;
};

struct chmod_books {
	u64 seen;
	u64 rate_limit;
	u64 ring_full;
};

BPF_RINGBUF_OUTPUT(chmods, CHMOD_RING_PAGES);
BPF_HASH(chmod_watches, u64, struct security_watch, MAX_CGROUPS + 1);
/* A bucket that is forgotten is full again. */
BPF_TABLE("lru_hash", u64, u64, chmod_buckets, MAX_CGROUPS);
BPF_HASH(chmod_names, struct file_name, u64, MAX_CHMOD_NAMES);
/* What finds no room here is counted in the books alone. */
BPF_HASH(chmod_suppressed, u64, u64, MAX_CGROUPS);
BPF_TABLE("lru_hash", u64, u64, chmod_old_modes, MAX_CHMODS);
BPF_PERCPU_ARRAY(chmod_scratches, struct chmod_scratch, CHMOD_PROGRAMS);
BPF_PROG_ARRAY(chmod_calls, 1);
BPF_PERCPU_ARRAY(books_chmod, struct chmod_books, 1);

/* Null where nobody watches. */
static inline struct security_watch *chmod_watch(u64 cgroup_id)
{
	struct security_watch *watch = chmod_watches.lookup(&cgroup_id);
	u64 others = 0;

	if (!watch)
		watch = chmod_watches.lookup(&others);
	return is_watched(watch) ? watch : 0;
}

static inline u32 path_is_asked_for_chmod(struct name_search *at)
{
	u32 more = 1;

#pragma clang loop unroll(disable)
	for (u32 step = 0; step < SEARCHED_STEPS && more; step++) {
		UNKNOWN_TO_COMPILER(step);
		more = climb(at);
		if (chmod_names.lookup(&at->name))
			return 1;
	}
	return 0;
}

static inline u32 text_is_asked_for_chmod(struct name_search *search)
{
	u8 letter;

	begin_search(search);
#pragma clang loop unroll(disable)
	for (u32 place = 0; place < SEARCHED_BYTES; place++) {
		UNKNOWN_TO_COMPILER(place);
		if (place >= SEARCHED_BYTES)
			return 0;
		letter = search->text[place];
		if (!goes_on(search, letter))
			continue;
		if (search->name.bytes[0] && chmod_names.lookup(&search->name))
			return 1;
		if (!letter)
			return 0;
		begin_search(search);
	}
	return 0;
}

static inline u32 chmod_is_asked_for(struct name_search *search, struct changing *c)
{
	struct file_name all = {};

	if (chmod_names.lookup(&all))
		return 1;
	search->mount = c->mount;
	search->dentry = c->dentry;
	if (c->name) {
		search->text[0] = 0;
		text_from_process(search->text, sizeof(search->text), c->name);
		if (text_is_asked_for_chmod(search))
			return 1;
		if (search->text[0] == '/')
			return 0;
		start_at_directory(search, c->task, c->directory);
	}
	return path_is_asked_for_chmod(search);
}

/* Null where nobody watches. */
static inline struct chmod_scratch *begin_chmod(u32 row)
{
	struct chmod_scratch *scratch;

	if (!chmod_watch(bpf_get_current_cgroup_id()))
		return 0;
	scratch = chmod_scratches.lookup(&row);
	if (!scratch)
		return 0;
	__builtin_memset(&scratch->asked, 0, sizeof(scratch->asked));
	scratch->asked.task = (void *)bpf_get_current_task();
	scratch->asked.old_mode = MODE_UNKNOWN;
	return scratch;
}

static inline void tell_chmod(struct chmod_scratch *scratch)
{
	u64 cgroup_id = bpf_get_current_cgroup_id(), now_ns, zero = 0, *suppressed;
	struct security_watch *watch = chmod_watch(cgroup_id);
	struct process_record *process = &scratch->record.process;
	struct name_search *search = &scratch->search;
	struct changing *c = &scratch->asked;
	struct chmod_books *books;
	int first = 0;

	books = books_chmod.lookup(&first);
	if (!watch || !books || !chmod_is_asked_for(search, c))
		return;
	__sync_fetch_and_add(&books->seen, 1);
	now_ns = bpf_ktime_get_ns();
	if (!take_token(watch, chmod_buckets.lookup_or_try_init(&cgroup_id, &zero), now_ns)) {
		__sync_fetch_and_add(&books->rate_limit, 1);
		suppressed = chmod_suppressed.lookup_or_try_init(&cgroup_id, &zero);
		if (suppressed)
			__sync_fetch_and_add(suppressed, 1);
		return;
	}
	scratch->record.result = c->result;
	scratch->record.call = c->call;
	scratch->record.mode = c->mode & MODE_BITS;
	scratch->record.old_mode = c->old_mode;
	begin_process(process, c->task, now_ns, cgroup_id);
	search->mount = c->mount;
	search->dentry = c->dentry;
	if (c->name)
		start_at_directory(search, c->task, c->directory);
	tell_path(process, c->name ? PART_DIRECTORY : PART_FILE, search->mount, search->dentry);
	tell_user_text(process, PART_GIVEN, c->name);
	if (chmods.ringbuf_output(&scratch->record, offsetof(struct chmod_record, process.bytes) + told_bytes(process),
				  BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&books->ring_full, 1);
}

static inline u16 mode_of(void *dentry)
{
	void *inode = 0;
	u16 mode = 0;

	read_kernel(inode, dentry, struct dentry, d_inode);
	read_kernel(mode, inode, struct inode, i_mode);
	return mode & MODE_BITS;
}

static inline void keep_old_mode(void *dentry)
{
	u64 cgroup_id = bpf_get_current_cgroup_id(), thread = bpf_get_current_pid_tgid(), mode;

	if (!chmod_watch(cgroup_id))
		return;
	mode = mode_of(dentry);
	chmod_old_modes.update(&thread, &mode);
}

static inline u16 take_old_mode(void)
{
	u64 thread = bpf_get_current_pid_tgid(), *kept = chmod_old_modes.lookup(&thread);
	u16 mode = MODE_UNKNOWN;

	if (kept) {
		mode = *kept;
		chmod_old_modes.delete(&thread);
	}
	return mode;
}

static inline u32 chmod_call_of(u32 number)
{
	if (number == NR_FCHMODAT)
		return CHANGES_BY_FCHMODAT;
	if (number == NR_CHMOD)
		return CHANGES_BY_CHMOD;
	if (number == NR_FCHMOD)
		return CHANGES_BY_FCHMOD;
	return number == NR_FCHMODAT2 ? CHANGES_BY_FCHMODAT2 : CHANGES_NOTHING;
}

static inline u32 compat_chmod_call_of(u32 number)
{
	if (number == NR32_FCHMODAT)
		return CHANGES_BY_FCHMODAT;
	if (number == NR32_CHMOD)
		return CHANGES_BY_CHMOD;
	if (number == NR32_FCHMOD)
		return CHANGES_BY_FCHMOD;
	return number == NR32_FCHMODAT2 ? CHANGES_BY_FCHMODAT2 : CHANGES_NOTHING;
}

static inline void chmod_ended(struct system_call *call)
{
	if (chmod_call_of(call->number) || compat_chmod_call_of(call->number))
		chmod_calls.call(call->ctx, 0);
}

/* args: registers, result (include/trace/events/syscalls.h) */
int on_chmod_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct chmod_scratch *scratch = begin_chmod(CHMOD_OF_SYSTEM_CALL);
	void *regs = (void *)ctx->args[0];
	struct changing *c;
	u32 number, compat;

	if (!scratch)
		return 0;
	c = &scratch->asked;
	number = number_of(regs);
	compat = is_32_bit(c->task);
	c->call = compat ? compat_chmod_call_of(number) : chmod_call_of(number);
	if (!c->call)
		return 0;
	c->result = ctx->args[1];
	c->directory = AT_FDCWD;
	if (c->call == CHANGES_BY_FCHMODAT || c->call == CHANGES_BY_FCHMODAT2) {
		c->directory = argument(regs, compat, 0);
		c->name = (void *)argument(regs, compat, 1);
		c->mode = argument(regs, compat, 2);
	} else {
		c->mode = argument(regs, compat, 1);
		if (c->call == CHANGES_BY_CHMOD)
			c->name = (void *)argument(regs, compat, 0);
	}
	if (c->call == CHANGES_BY_FCHMOD) {
		c->old_mode = take_old_mode();
		start_at_file(&scratch->search, file_of(c->task, argument(regs, compat, 0)));
		c->mount = scratch->search.mount;
		c->dentry = scratch->search.dentry;
		if (c->dentry && !c->result)
			c->mode = mode_of(c->dentry);
	}
	tell_chmod(scratch);
	return 0;
}

/* args: registers, number (include/trace/events/syscalls.h) */
int on_fchmod(struct bpf_raw_tracepoint_args *ctx)
{
	u32 number = (u32)ctx->args[1] & ~X32_BIT, compat;
	void *regs = (void *)ctx->args[0], *dentry = 0, *task, *file;

	if (number != NR_FCHMOD && number != NR32_FCHMOD)
		return 0;
	task = (void *)bpf_get_current_task();
	compat = is_32_bit(task);
	if (number != (compat ? NR32_FCHMOD : NR_FCHMOD))
		return 0;
	file = file_of(task, argument(regs, compat, 0));
	if (!file)
		return 0;
	read_kernel(dentry, file, struct file, f_path.dentry);
	keep_old_mode(dentry);
	return 0;
}

/* args: the path, the mode (fs/open.c) */
int on_chmod_begins(u64 *ctx)
{
	void *dentry = 0;

	read_kernel(dentry, (void *)ctx[0], struct path, dentry);
	keep_old_mode(dentry);
	return 0;
}

static inline void tell_changed(u64 *ctx, u32 call)
{
	struct chmod_scratch *scratch = begin_chmod(CHMOD_OF_FUNCTION);
	struct changing *c;

	if (!scratch)
		return;
	c = &scratch->asked;
	c->call = call;
	read_kernel(c->mount, (void *)ctx[0], struct path, mnt);
	read_kernel(c->dentry, (void *)ctx[0], struct path, dentry);
	c->result = (int)ctx[2];
	c->old_mode = take_old_mode();
	c->mode = c->result ? ctx[1] : mode_of(c->dentry);
	tell_chmod(scratch);
}

/* args: the path, the mode; 0 or an error */
int on_chmod_ends(u64 *ctx)
{
	tell_changed(ctx, CHANGES_NOTHING);
	return 0;
}

int on_chmod_ends_with_its_call(u64 *ctx)
{
	void *task = running_task();
	u32 number = number_of(registers_of(task));

	tell_changed(ctx, is_32_bit(task) ? compat_chmod_call_of(number) : chmod_call_of(number));
	return 0;
}
