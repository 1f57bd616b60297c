/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who did it: what every security record says about a process, and how much of it a workload may say.
 *
 * A record is made in memory of the program's own and sent as far as it is filled: fixed members, then parts of text
 * one behind the other (decoded by agent/security/processes.py):
 *
 *	struct thing_record { u64 own_members; ...; struct process_record process; };  // process is the last one
 *
 *	watch = thing_watches.lookup(&cgroup_id);         // none: the row of cgroup 0
 *	if (!is_watched(watch)) return 0;
 *	bucket = thing_buckets.lookup_or_try_init(&cgroup_id, &zero);      // an LRU hash of u64
 *	if (!take_token(watch, bucket, now_ns)) ...       // counted as rate_limit, and in thing_suppressed
 *	begin_process(&record->process, task, now_ns, cgroup_id);
 *	tell_path(&record->process, PART_..., mount, dentry);          // further parts, each once
 *	thing.ringbuf_output(record, offsetof(struct thing_record, process.bytes) + told_bytes(&record->process), ...)
 *
 * Who may call what:
 * - everything here reads kernel memory, which takes PERFMON;
 * - begin_process() is for the running task, or one that cannot end meanwhile; its parents may;
 * - the record lies in a map's row. A per-CPU array's row 0 is safe where the same program cannot begin again on the CPU
 *   while it runs: raw tracepoints (the kernel itself leaves out what would nest, and says how often). It is not in
 *   cgroup hooks such as connect4, which may be preempted: those reserve room in the ring, for which they may make
 *   TOLD_BYTES and TOLD_SLACK smaller before they include this;
 * - tell_user_text() reads memory of the running process, which must not have been paged out: else it says nothing.
 *
 * As net.h: plain values and plain pointers, no maps.
 */
#ifndef BPFLEET_PROCESS_H
#define BPFLEET_PROCESS_H

#include "net.h"

#ifdef __VMLINUX_H__
#define MOUNT struct mount
#else
#include <linux/binfmts.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/mm_types.h>
#include <linux/mount.h>
#include <linux/path.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

/* How struct mount begins. fs/mount.h is not among the headers that distributions have. */
struct mount_beginning {
	struct hlist_node mnt_hash;
	struct mount_beginning *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};
#define MOUNT struct mount_beginning
#endif

/* Of a path, from its end on: more than nearly all have. Of a longer one the first directory is told as well. */
#define PATH_BYTES 512

/* Directories and mounts up to the root. A deeper path is told from its end on, and said to be cut. */
#ifndef PATH_STEPS
#define PATH_STEPS 256
#endif

/* A name in a directory has 255 bytes at most (NAME_MAX). */
#define NAME_BYTES 256

/* Of an ancestor's name, with its end; five are enough to see who began it: shell, sshd, containerd-shim. */
#define ANCESTOR_BYTES 64
#define ANCESTORS 5

/* Room for all parts of a record: two paths, five names and two texts are 3,400 bytes at most. */
#ifndef TOLD_BYTES
#define TOLD_BYTES 4096
#endif

/* What one write may go beyond that, so that the verifier need not know where it begins: the longest that there is, of
 * PATH_BYTES here, or a program's own. */
#ifndef TOLD_SLACK
#define TOLD_SLACK 1024
#endif

/* In the order of agent.security.processes.FLAGS. */
#define PROCESS_IS_INIT 1
#define PROCESS_IS_ENTERED 2
#define PROCESS_IS_IN_MEMORY 4
#define PROCESS_IS_DELETED 8
#define PROCESS_HAS_MORE_ANCESTORS 16

/* A part is a byte of these, then texts that each end with a zero byte and are not empty, then a zero byte. */
#define PART_EXECUTABLE 1
#define PART_ANCESTORS 2
#define PART_SCRIPT 3
#define PART_INTERPRETER 4
#define PART_DIRECTORY 5
#define PART_FILE 6
#define PART_GIVEN 7
#define PART_TARGET 8

/* Added to a part's byte. CUT: a path whose middle is left out, its last text is the first directory; or a text whose
 * end is left out. BROKEN: a path whose beginning is left out, or could not be read. */
#define PART_CUT 0x40
#define PART_BROKEN 0x80

/* include/linux/sched.h, include/linux/dcache.h: TASK_COMM_LEN */
#define COMM_BYTES 16

/* agent.security.orders.Watch.row: a token each interval_ns, as many at once as burst_ns has intervals. An interval of 0:
 * not watched. The row of cgroup 0 is of all that have none of their own (see is_watched). */
struct security_watch {
	u64 interval_ns;
	u64 burst_ns;
	u64 group;
};

struct process_record {
	u64 time_ns;
	u64 cgroup_id;
	u32 pid;
	u32 vpid;
	u32 parent_pid;
	u32 uid;
	u32 flags;
	u32 length;
	u8 bytes[TOLD_BYTES + TOLD_SLACK];
};

/* Under names of our own, as copy_from_kernel in net.h. */
static int (*text_from_kernel)(void *destination, u32 size,
			       const void *source) = (void *)BPF_FUNC_probe_read_kernel_str;
static int (*copy_from_process)(void *destination, u32 size, const void *source) = (void *)BPF_FUNC_probe_read_user;
static int (*text_from_process)(void *destination, u32 size, const void *source) = (void *)BPF_FUNC_probe_read_user_str;

/* The compiler may not know more of a value than the verifier does. */
#define UNKNOWN_TO_COMPILER(value) asm volatile("" : "+r"(value))

static inline u32 is_watched(struct security_watch *watch)
{
	return watch && watch->interval_ns;
}

/* 1 if the workload may say one thing more. bucket: a cgroup's own word, 0 at first: when the bucket will be full again
 * (GCRA's theoretical arrival time, ITU-T I.371). CPUs that ask in the same moment may each get the last token, but none
 * is given twice beyond that: what was taken early is waited for. Where the order was another one when the tokens were
 * taken, the bucket is empty now at worst. */
static inline u32 take_token(struct security_watch *watch, u64 *bucket, u64 now_ns)
{
	u64 interval_ns = watch->interval_ns, burst_ns = watch->burst_ns, full_ns;

	if (!bucket)
		return 0;
	full_ns = *(volatile u64 *)bucket;
	if (full_ns <= now_ns) {
		*(volatile u64 *)bucket = now_ns + interval_ns;
		return 1;
	}
	if (full_ns - now_ns + interval_ns > burst_ns) {
		if (full_ns - now_ns > 2 * burst_ns)
			*(volatile u64 *)bucket = now_ns + burst_ns;
		return 0;
	}
	__sync_fetch_and_add(bucket, interval_ns);
	return 1;
}

/* How much of `bytes` is filled: what to send. */
static inline u64 told_bytes(struct process_record *record)
{
	u64 length = *(volatile u32 *)&record->length;

	UNKNOWN_TO_COMPILER(length);
	return length > TOLD_BYTES ? TOLD_BYTES : length;
}

/* Where the next text goes; null where no room is left. One byte is kept for the end of the part. */
static inline u8 *told_end(struct process_record *record)
{
	u64 length = *(volatile u32 *)&record->length;

	UNKNOWN_TO_COMPILER(length);
	return length < TOLD_BYTES - 1 ? record->bytes + length : 0;
}

static inline void told_more(struct process_record *record, u32 length)
{
	volatile u32 *place = &record->length;

	*place += length;
}

static inline u32 begin_part(struct process_record *record, u32 part)
{
	u32 start = record->length;
	u8 *end = told_end(record);

	if (end) {
		*end = part;
		told_more(record, 1);
	}
	return start;
}

/* marks: PART_CUT, PART_BROKEN. */
static inline void end_part(struct process_record *record, u32 start, u32 marks)
{
	u64 place = start, length = *(volatile u32 *)&record->length;

	UNKNOWN_TO_COMPILER(place);
	UNKNOWN_TO_COMPILER(length);
	if (place >= TOLD_BYTES - 1)
		return;
	if (marks)
		record->bytes[place] |= marks;
	if (length >= TOLD_BYTES) { /* the last text found no room for its end */
		record->bytes[TOLD_BYTES - 2] = 0;
		length = TOLD_BYTES - 1;
		record->bytes[place] |= PART_BROKEN;
	}
	record->bytes[length] = 0;
	record->length = length + 1;
}

/* A name, or a text whose size is the compiler's knowledge. Returns what it takes with its end; nothing for an empty
 * one. */
#define tell_name(record, most, read, source)                                                                          \
	({                                                                                                             \
		u8 *into = told_end(record);                                                                           \
		int taken = into ? read(into, most, source) : 0;                                                       \
		taken > 1 ? taken : 0;                                                                                 \
	})

#define tell_one(record, part, most, read, source)                                                                     \
	({                                                                                                             \
		u32 begun = begin_part(record, part);                                                                  \
		int size = tell_name(record, most, read, source);                                                      \
		told_more(record, size);                                                                               \
		end_part(record, begun, size == (most) ? PART_CUT : 0);                                                \
	})

/* A text of the kernel; the end of a longer one is left out. */
static inline void tell_text(struct process_record *record, u32 part, const void *text)
{
	tell_one(record, part, PATH_BYTES, text_from_kernel, text);
}

/* A text in the running process' memory. */
static inline void tell_user_text(struct process_record *record, u32 part, const void *text)
{
	tell_one(record, part, PATH_BYTES, text_from_process, text);
}

/* A path's names from its end on, across mounts, up to the root of the mount namespace: what a chroot hides is told.
 * mount: a struct vfsmount. A file without a name in a directory (memfd) has one that the kernel gave it. */
static inline void tell_path(struct process_record *record, u32 part, void *mount, void *dentry)
{
	u32 start = begin_part(record, part), marks = PART_BROKEN, kept = 0, size;
	void *root = 0, *parent, *name;

	read_kernel(root, mount, struct vfsmount, mnt_root);
#pragma clang loop unroll(disable)
	for (u32 step = 0; step < PATH_STEPS; step++) {
		UNKNOWN_TO_COMPILER(step);
		parent = 0;
		if (dentry == root) {
			void *here = mount - offsetof(MOUNT, mnt);

			read_kernel(parent, here, MOUNT, mnt_parent);
			if (!parent || parent == here) {
				marks &= ~PART_BROKEN;
				break;
			}
			read_kernel(dentry, here, MOUNT, mnt_mountpoint);
			mount = parent + offsetof(MOUNT, mnt);
			read_kernel(root, mount, struct vfsmount, mnt_root);
			continue;
		}
		name = 0;
		read_kernel(name, dentry, struct dentry, d_name.name);
		read_kernel(parent, dentry, struct dentry, d_parent);
		size = tell_name(record, NAME_BYTES, text_from_kernel, name);
		if (!size || !parent)
			break;
		if (record->length - start > PATH_BYTES) {
			if (kept)
				marks |= PART_CUT;
			kept = size; /* the next one is written over it */
		} else {
			told_more(record, size);
		}
		if (parent == dentry) {
			marks &= ~PART_BROKEN;
			break;
		}
		dentry = parent;
	}
	told_more(record, kept);
	end_part(record, start, marks);
}

/* The path of an open file. */
static inline void tell_file(struct process_record *record, u32 part, void *file)
{
	void *mount = 0, *dentry = 0;

	read_kernel(mount, file, struct file, f_path.mnt);
	read_kernel(dentry, file, struct file, f_path.dentry);
	tell_path(record, part, mount, dentry);
}

/* What a process runs, null of the kernel's own threads: not its comm, which it may set. */
static inline void *executable_of(void *task)
{
	void *memory = 0, *file = 0;

	read_kernel(memory, task, struct task_struct, mm);
	if (memory)
		read_kernel(file, memory, struct mm_struct, exe_file);
	return file;
}

/* The process' id in its own pid namespace; which one that is. */
static inline void *pid_namespace_of(void *task, u32 *number)
{
	void *signals = 0, *pid = 0;
	struct upid own = {};
	u32 level = 0;

	read_kernel(signals, task, struct task_struct, signal);
	read_kernel(pid, signals, struct signal_struct, pids[PIDTYPE_TGID]);
	read_kernel(level, pid, struct pid, level);
	copy_from_kernel(&own, sizeof(own), pid + offsetof(struct pid, numbers) + level * sizeof(struct upid));
	*number = own.nr;
	return own.ns;
}

/* What bpf_get_current_cgroup_id() says of the running task. */
static inline u64 cgroup_of(void *task)
{
	void *set = 0, *cgroup = 0, *node = 0;
	u64 id = 0;

	read_kernel(set, task, struct task_struct, cgroups);
	read_kernel(cgroup, set, struct css_set, dfl_cgrp);
	read_kernel(node, cgroup, struct cgroup, kn);
	read_kernel(id, node, struct kernfs_node, id);
	return id;
}

/* Its file's name; comm where there is none. */
static inline u32 tell_task_name(struct process_record *record, void *task)
{
	void *file = executable_of(task), *dentry = 0, *name = 0;
	u32 size = 0;

	if (file) {
		read_kernel(dentry, file, struct file, f_path.dentry);
		read_kernel(name, dentry, struct dentry, d_name.name);
		size = tell_name(record, ANCESTOR_BYTES, text_from_kernel, name);
	}
	if (!size)
		size = tell_name(record, COMM_BYTES, text_from_kernel, task + offsetof(struct task_struct, comm));
	told_more(record, size);
	return size;
}

/* The name of one process, as a part of its own. */
static inline void tell_task(struct process_record *record, u32 part, void *task)
{
	u32 start = begin_part(record, part);

	tell_task_name(record, task);
	end_part(record, start, 0);
}

/* From the parent upwards, to the machine's first process. */
static inline void tell_ancestors(struct process_record *record, void *task)
{
	u32 start = begin_part(record, PART_ANCESTORS), pid;
	void *parent;

#pragma clang loop unroll(disable)
	for (u32 step = 0; step <= ANCESTORS; step++) {
		UNKNOWN_TO_COMPILER(step);
		parent = 0;
		pid = 0;
		read_kernel(parent, task, struct task_struct, real_parent);
		read_kernel(pid, parent, struct task_struct, tgid);
		if (!pid)
			break;
		if (step == ANCESTORS) {
			record->flags |= PROCESS_HAS_MORE_ANCESTORS;
			break;
		}
		if (!tell_task_name(record, parent))
			break;
		task = parent;
	}
	end_part(record, start, 0);
}

/* Has the file a name? One that never had one is its own parent (d_alloc_pseudo). */
static inline u32 file_flags(void *file)
{
	void *inode = 0, *dentry = 0, *parent = 0, *hashed = 0;
	u32 links = 1, flags = 0;

	read_kernel(inode, file, struct file, f_inode);
	read_kernel(links, inode, struct inode, i_nlink);
	read_kernel(dentry, file, struct file, f_path.dentry);
	read_kernel(parent, dentry, struct dentry, d_parent);
	read_kernel(hashed, dentry, struct dentry, d_hash.pprev);
	if (!links)
		flags |= PROCESS_IS_IN_MEMORY;
	if (parent != dentry && (!links || !hashed))
		flags |= PROCESS_IS_DELETED;
	return flags;
}

/* Everything that a record says about the process of a task. Process 1 of a namespace is a container's first only where
 * who made it is in another cgroup: any process may make itself such a namespace (unshare --pid --fork). */
static inline void begin_process(struct process_record *record, void *task, u64 now_ns, u64 cgroup_id)
{
	void *parent = 0, *credentials = 0, *file, *own, *outer;
	u32 number = 0, flags = 0, ignored = 0;

	record->time_ns = now_ns;
	record->cgroup_id = cgroup_id;
	record->length = 0;
	record->uid = 0;
	record->parent_pid = 0;
	read_kernel(record->pid, task, struct task_struct, tgid);
	read_kernel(credentials, task, struct task_struct, cred);
	read_kernel(record->uid, credentials, struct cred, euid);
	read_kernel(parent, task, struct task_struct, real_parent);
	read_kernel(record->parent_pid, parent, struct task_struct, tgid);
	own = pid_namespace_of(task, &number);
	outer = pid_namespace_of(parent, &ignored);
	record->vpid = number;
	if (number == 1 && cgroup_of(parent) != cgroup_id)
		flags |= PROCESS_IS_INIT;
	else if (number != 1 && own != outer)
		flags |= PROCESS_IS_ENTERED;
	file = executable_of(task);
	if (file)
		flags |= file_flags(file);
	record->flags = flags;
	if (file)
		tell_file(record, PART_EXECUTABLE, file);
	tell_ancestors(record, task);
}

#endif
