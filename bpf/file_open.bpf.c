// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which files are opened whose path has a component that somebody asks for, how, and with what result? And which sockets
 * of such a path are connected to, which is how those are opened?
 *
 * Hook:  fexit of do_filp_open (do_file_open since 7.0), through which open, openat, openat2, creat and io_uring all go;
 *        it has the kernel's own copy of the name, and of unix_stream_connect. Else, by number, in syscalls.bpf.c, and
 *        io_uring's requests when they are submitted (from 6.3 on).
 * Tells: the path by the opened file's directories and mounts, so neither symbolic links nor another thread can hide
 *        it; where the open failed, the name as it was given and the directory that it begins at. Of a socket the path
 *        that its server has bound.
 * Owner: the cgroup of the task.
 * Blind: opens for execve (collector exec) and by handle; of failed ones, what symbolic links would have led to, and a
 *        chroot's or RESOLVE_IN_ROOT's root; connections that fail, and those that the server has closed by then. Without
 *        function tracing: another file that a second thread puts on the descriptor in the instant between the open and
 *        the call's end; what became of io_uring's requests, and before 6.3 they themselves; connections by io_uring and
 *        by socketcall() of 32 bits.
 */

/* 8 MiB hold 27,000 records of 300 bytes: 5,400 a second where the kernel is read every five seconds. */
#define FILE_OPEN_RING_PAGES 2048

/* Components that policies ask for: dozens. */
#define MAX_FILE_OPEN_NAMES 1024

/* include/linux/fs.h: execve's; include/uapi/linux/openat2.h and linux/namei.h: only what needs no waiting. */
#define OPENED_FOR_EXEC 0x20
#define LOOKUP_IS_CACHED 0x200000
#define TRY_AGAIN -11

/* include/uapi/linux/io_uring.h */
#define IO_URING_OPENAT 18
#define IO_URING_OPENAT2 28

/* What creat() stands for; what a connection is. */
#define CREAT_FLAGS (O_CREAT | O_WRONLY | O_TRUNC)
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0x40
#define O_EXCL 0x80
#define O_NOCTTY 0x100
#define O_TRUNC 0x200
#define O_CLOEXEC 0x80000

/* What an open file no longer knows of them (fs/open.c, do_dentry_open; build_open_flags). */
#define FORGOTTEN_FLAGS (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC)

/* include/linux/socket.h */
#define FAMILY_UNIX 1

/* In the order of agent.collectors.file_open.CALLS. */
enum open_call {
	OPENS_NOTHING,
	OPENS_BY_OPEN,
	OPENS_BY_CREAT,
	OPENS_BY_OPENAT,
	OPENS_BY_OPENAT2,
	OPENS_BY_IO_URING,
	OPENS_BY_CONNECT
};

/* Rows of the scratch: a program of the one may be interrupted by one of another. */
enum open_program { OPEN_OF_SYSTEM_CALL, OPEN_OF_FUNCTION, OPEN_OF_IO_URING, OPEN_OF_CONNECT, OPEN_PROGRAMS };

/* result: a descriptor or 0, an error below 0, 1 << 31 where it is not known. */
#define RESULT_UNKNOWN (1ULL << 31)

struct file_open_record {
	u64 result;
	u64 flags;
	u64 call;
	struct process_record process;
};

/* An open that has ended. dentry: null where it failed; name: of the kernel or in the process' memory. */
struct opening {
	void *task;
	void *mount;
	void *dentry;
	void *name;
	int directory;
	u32 call;
	u32 is_kernel;
	s64 result;
	u64 flags;
};

struct file_open_scratch {
	struct opening asked;
	struct name_search search;
	struct file_open_record record;
};

struct file_open_books {
	u64 seen;
	u64 rate_limit;
	u64 ring_full;
};

BPF_RINGBUF_OUTPUT(file_opens, FILE_OPEN_RING_PAGES);
BPF_HASH(file_open_watches, u64, struct security_watch, MAX_CGROUPS + 1);
/* A bucket that is forgotten is full again. */
BPF_TABLE("lru_hash", u64, u64, file_open_buckets, MAX_CGROUPS);
BPF_HASH(file_open_names, struct file_name, u64, MAX_FILE_OPEN_NAMES);
/* What finds no room here is counted in the books alone. */
BPF_HASH(file_open_suppressed, u64, u64, MAX_CGROUPS);
BPF_PERCPU_ARRAY(file_open_scratches, struct file_open_scratch, OPEN_PROGRAMS);
BPF_PROG_ARRAY(file_open_calls, 1);
BPF_PERCPU_ARRAY(books_file_open, struct file_open_books, 1);

/* Null where nobody watches. */
static inline struct security_watch *file_open_watch(u64 cgroup_id)
{
	struct security_watch *watch = file_open_watches.lookup(&cgroup_id);
	u64 others = 0;

	if (!watch)
		watch = file_open_watches.lookup(&others);
	return is_watched(watch) ? watch : 0;
}

static inline u32 path_is_asked_for_open(struct name_search *at)
{
	u32 more = 1;

#pragma clang loop unroll(disable)
	for (u32 step = 0; step < SEARCHED_STEPS && more; step++) {
		UNKNOWN_TO_COMPILER(step);
		more = climb(at);
		if (file_open_names.lookup(&at->name))
			return 1;
	}
	return 0;
}

static inline u32 text_is_asked_for_open(struct name_search *search)
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
		if (search->name.bytes[0] && file_open_names.lookup(&search->name))
			return 1;
		if (!letter)
			return 0;
		begin_search(search);
	}
	return 0;
}

static inline u32 open_is_asked_for(struct name_search *search, struct opening *o)
{
	struct file_name all = {};

	if (file_open_names.lookup(&all))
		return 1;
	if (o->dentry) {
		search->mount = o->mount;
		search->dentry = o->dentry;
	} else {
		search->text[0] = 0;
		if (o->is_kernel)
			text_from_kernel(search->text, sizeof(search->text), o->name);
		else
			text_from_process(search->text, sizeof(search->text), o->name);
		if (text_is_asked_for_open(search))
			return 1;
		if (search->text[0] == '/')
			return 0;
		start_at_directory(search, o->task, o->directory);
	}
	return path_is_asked_for_open(search);
}

/* Null where nobody watches. */
static inline struct file_open_scratch *begin_open(u32 row)
{
	struct file_open_scratch *scratch;

	if (!file_open_watch(bpf_get_current_cgroup_id()))
		return 0;
	scratch = file_open_scratches.lookup(&row);
	if (!scratch)
		return 0;
	__builtin_memset(&scratch->asked, 0, sizeof(scratch->asked));
	scratch->asked.task = (void *)bpf_get_current_task();
	return scratch;
}

static inline void opened(struct opening *o, void *file)
{
	read_kernel(o->mount, file, struct file, f_path.mnt);
	read_kernel(o->dentry, file, struct file, f_path.dentry);
}

#ifdef HAS_unix_sock /* net/af_unix.h: not among headers of distributions' that BCC can take in */
/* What a connected socket's other end was bound to: 0 where that is nothing in a file system. */
static inline u32 connected(struct opening *o, void *sk)
{
	void *peer = 0;
	u16 family = 0;

	read_kernel(family, sk, struct sock, __sk_common.skc_family);
	if (family != FAMILY_UNIX)
		return 0;
	read_kernel(peer, sk, struct unix_sock, peer);
	read_kernel(o->mount, peer, struct unix_sock, path.mnt);
	read_kernel(o->dentry, peer, struct unix_sock, path.dentry);
	o->call = OPENS_BY_CONNECT;
	o->flags = O_RDWR;
	return !!o->dentry;
}
#endif

static inline void tell_open(struct file_open_scratch *scratch)
{
	u64 cgroup_id = bpf_get_current_cgroup_id(), now_ns, zero = 0, *suppressed;
	struct security_watch *watch = file_open_watch(cgroup_id);
	struct process_record *process = &scratch->record.process;
	struct name_search *search = &scratch->search;
	struct opening *o = &scratch->asked;
	struct file_open_books *books;
	int first = 0;

	books = books_file_open.lookup(&first);
	if (!watch || !books || !open_is_asked_for(search, o))
		return;
	__sync_fetch_and_add(&books->seen, 1);
	now_ns = bpf_ktime_get_ns();
	if (!take_token(watch, file_open_buckets.lookup_or_try_init(&cgroup_id, &zero), now_ns)) {
		__sync_fetch_and_add(&books->rate_limit, 1);
		suppressed = file_open_suppressed.lookup_or_try_init(&cgroup_id, &zero);
		if (suppressed)
			__sync_fetch_and_add(suppressed, 1);
		return;
	}
	scratch->record.result = o->result;
	scratch->record.flags = o->flags;
	scratch->record.call = o->call;
	begin_process(process, o->task, now_ns, cgroup_id);
	search->mount = o->mount;
	search->dentry = o->dentry;
	if (!o->dentry)
		start_at_directory(search, o->task, o->directory);
	tell_path(process, o->dentry ? PART_FILE : PART_DIRECTORY, search->mount, search->dentry);
	if (o->is_kernel)
		tell_text(process, PART_GIVEN, o->name);
	else
		tell_user_text(process, PART_GIVEN, o->name);
	if (file_opens.ringbuf_output(&scratch->record,
				      offsetof(struct file_open_record, process.bytes) + told_bytes(process),
				      BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&books->ring_full, 1);
}

static inline u32 open_call_of(u32 number)
{
	if (number == NR_OPENAT)
		return OPENS_BY_OPENAT;
	if (number == NR_OPEN)
		return OPENS_BY_OPEN;
	if (number == NR_OPENAT2)
		return OPENS_BY_OPENAT2;
	if (number == NR_CONNECT)
		return OPENS_BY_CONNECT;
	return number == NR_CREAT ? OPENS_BY_CREAT : OPENS_NOTHING;
}

static inline u32 compat_open_call_of(u32 number)
{
	if (number == NR32_OPENAT)
		return OPENS_BY_OPENAT;
	if (number == NR32_OPEN)
		return OPENS_BY_OPEN;
	if (number == NR32_OPENAT2)
		return OPENS_BY_OPENAT2;
	if (number == NR32_CONNECT)
		return OPENS_BY_CONNECT;
	return number == NR32_CREAT ? OPENS_BY_CREAT : OPENS_NOTHING;
}

static inline void file_open_ended(struct system_call *call)
{
	if (open_call_of(call->number) || compat_open_call_of(call->number))
		file_open_calls.call(call->ctx, 0);
}

/* Of the system calls that open: what was asked for, and what it led to. */
static inline void open_ended(struct opening *o, void *regs, u32 compat, int result)
{
	u32 named = o->call == OPENS_BY_OPENAT || o->call == OPENS_BY_OPENAT2; /* after a directory's descriptor */
	u64 flags = named ? argument(regs, compat, 2) : argument(regs, compat, 1);
	void *file = 0;
	u32 kept = 0;

	o->directory = named ? (int)argument(regs, compat, 0) : AT_FDCWD;
	o->name = (void *)(named ? argument(regs, compat, 1) : argument(regs, compat, 0));
	if (o->call == OPENS_BY_CREAT)
		o->flags = CREAT_FLAGS;
	else if (o->call == OPENS_BY_OPENAT2)
		copy_from_process(&o->flags, sizeof(o->flags), (void *)flags); /* struct open_how begins with them */
	else
		o->flags = (u32)flags;
	o->result = result;
	if (result >= 0)
		file = file_of(o->task, result);
	if (!file)
		return;
	opened(o, file);
	if (o->call == OPENS_BY_OPENAT2) { /* another thread may have written over them meanwhile */
		read_kernel(kept, file, struct file, f_flags);
		o->flags = (o->flags & FORGOTTEN_FLAGS) | kept;
	}
}

/* Of connect(): 0 where there is nothing to tell. */
static inline u32 connection_ended(struct opening *o, void *regs, u32 compat, int result)
{
#ifdef HAS_unix_sock
	void *socket = 0, *sk = 0;

	if (result)
		return 0;
	read_kernel(socket, file_of(o->task, argument(regs, compat, 0)), struct file, private_data);
	read_kernel(sk, socket, struct socket, sk);
	return connected(o, sk);
#else
	return 0;
#endif
}

/* args: registers, result (include/trace/events/syscalls.h) */
int on_file_open_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct file_open_scratch *scratch = begin_open(OPEN_OF_SYSTEM_CALL);
	void *regs = (void *)ctx->args[0];
	u32 number, compat;
	struct opening *o;

	if (!scratch)
		return 0;
	o = &scratch->asked;
	number = number_of(regs);
	compat = is_32_bit(o->task);
	o->call = compat ? compat_open_call_of(number) : open_call_of(number);
	if (!o->call)
		return 0;
	if (o->call != OPENS_BY_CONNECT)
		open_ended(o, regs, compat, (int)ctx->args[1]);
	else if (!connection_ended(o, regs, compat, (int)ctx->args[1]))
		return 0;
	tell_open(scratch);
	return 0;
}

#ifdef HAS_open_flags /* fs/internal.h: not among headers, and needed where there is function tracing only */
static inline void tell_opened(u64 *ctx, u32 call)
{
	struct file_open_scratch *scratch = begin_open(OPEN_OF_FUNCTION);
	u32 open_flag = 0, lookup_flags = 0;
	void *options = (void *)ctx[2];
	s64 result = ctx[3];
	struct opening *o;

	if (!scratch)
		return;
	o = &scratch->asked;
	read_kernel(open_flag, options, struct open_flags, open_flag);
	read_kernel(lookup_flags, options, struct open_flags, lookup_flags);
	if (open_flag & OPENED_FOR_EXEC)
		return;
	if (result == TRY_AGAIN && lookup_flags & LOOKUP_IS_CACHED) /* io_uring comes again, in a worker */
		return;
	if (result < -4095 || result >= 0) /* include/linux/err.h */
		opened(o, (void *)result);
	else
		o->result = result;
	o->directory = (int)ctx[0];
	o->is_kernel = 1;
	o->call = call;
	o->flags = open_flag;
	read_kernel(o->name, (void *)ctx[1], struct filename, name);
	tell_open(scratch);
}

/* args: a directory's descriptor, the name, flags; the file or an error (fs/namei.c) */
int on_file_open(u64 *ctx)
{
	tell_opened(ctx, OPENS_NOTHING);
	return 0;
}

int on_file_open_with_its_call(u64 *ctx)
{
	void *task = running_task();
	u32 number = number_of(registers_of(task)), call;

	call = is_32_bit(task) ? compat_open_call_of(number) : open_call_of(number);
	tell_opened(ctx, number == NR_IO_URING_ENTER ? OPENS_BY_IO_URING : call);
	return 0;
}
#endif

#ifdef HAS_io_open /* io_uring/openclose.c: the kernel may be built without it */
/* args: the request (include/trace/events/io_uring.h) */
int on_io_uring_request(struct bpf_raw_tracepoint_args *ctx)
{
	void *request = (void *)ctx->args[0], *name = 0;
	struct file_open_scratch *scratch;
	struct opening *o;
	u8 operation = 0;

	read_kernel(operation, request, struct io_kiocb, opcode);
	if (operation != IO_URING_OPENAT && operation != IO_URING_OPENAT2)
		return 0;
	scratch = begin_open(OPEN_OF_IO_URING);
	if (!scratch)
		return 0;
	o = &scratch->asked;
	/* The request begins with what its operation keeps there (io_kiocb_to_cmd). */
	read_kernel(o->directory, request, struct io_open, dfd);
	read_kernel(name, request, struct io_open, filename);
	read_kernel(o->name, name, struct filename, name);
	read_kernel(o->flags, request, struct io_open, how.flags);
	o->is_kernel = 1;
	o->call = OPENS_BY_IO_URING;
	o->result = RESULT_UNKNOWN;
	tell_open(scratch);
	return 0;
}
#endif

#ifdef HAS_unix_sock
/* args: the socket, an address, its size, flags; 0 or an error (net/unix/af_unix.c) */
int on_unix_connect(u64 *ctx)
{
	struct file_open_scratch *scratch;
	void *sk = 0;

	if ((int)ctx[4])
		return 0;
	scratch = begin_open(OPEN_OF_CONNECT);
	if (!scratch)
		return 0;
	read_kernel(sk, (void *)ctx[0], struct socket, sk);
	if (connected(&scratch->asked, sk))
		tell_open(scratch);
	return 0;
}
#endif
