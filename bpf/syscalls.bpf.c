// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which of the few system calls that a policy may ask for has just ended, and how?
 *
 * Hook:  where the kernel has function tracing, each fragment hooks into its own functions, and nobody else pays. Where
 *        it has not, raw tracepoint sys_exit, once for all fragments: every system call of the machine goes the slow way
 *        out and comes here; by their number nearly all leave after a few comparisons. For the others a fragment leaves
 *        by a tail call to a program of its own, which the verifier sees by itself. No number is of two fragments. At
 *        the exit the arguments are still there, so nothing is kept from the entry.
 * Owner: the cgroup of the task.
 * Order: number, whether the cgroup is watched, whether a component of the path is asked for, the cgroup's tokens.
 * Also:  32-bit programs, by their own numbers and registers.
 * Blind: arguments in memory that has been paged out since; x32's ptrace (its numbers are those of 64 bits otherwise).
 */
/* Of two paths a record, where the verifiers of 5.10 and 6.1 walk each step of both. */
#define PATH_STEPS 96

#include "process.h"

#ifndef __VMLINUX_H__
#include <linux/cgroup-defs.h>
#include <linux/fdtable.h>
#include <linux/idr.h>
#include <linux/pid_namespace.h>
#include <linux/xarray.h>
#endif

/* uapi/linux/fcntl.h */
#define AT_FDCWD -100

/* Of a component, with its end, in the sets of those that are asked for; longer ones are there by their beginning, as
 * agent.collectors.syscalls.name_key writes them. */
#define FILE_NAME_BYTES 32

/* Components of a path, from its end on, that are compared with those that are asked for; mounts on the way count, too.
 * Few paths have twenty. */
#define SEARCHED_STEPS 48

/* Of a name that leads nowhere as it was given; what stands behind them is not searched. Nearly all are shorter. */
#define SEARCHED_BYTES 192

/* One of a 64-bit program (x86: arch/x86/include/asm/thread_info.h TS_COMPAT; arm64: TIF_32BIT). */
#define X86_COMPAT 0x0002
#define ARM64_COMPAT (1UL << 22)

/* arch/x86/include/uapi/asm/unistd.h: set in the numbers of x32, which are those of 64 bits without it. */
#define X32_BIT 0x40000000

/* One that has ended. number: as 64-bit and as 32-bit programs have it, who made it is not known yet. */
struct system_call {
	void *ctx;
	u32 number;
};

struct file_name {
	u8 bytes[FILE_NAME_BYTES];
};

/* On the way from a file to the root, or through a text: the names that there are, one after the other. This, and all
 * that a program goes by, lies in a map's row: what it reads from there is nothing that the verifier knows, so that it
 * walks each loop once and not for each value. */
struct name_search {
	void *mount;
	void *dentry;
	struct file_name name;
	u32 length;
	u32 pad;
	u8 text[SEARCHED_BYTES];
};

/* The registers with which the running process came into the kernel, for programs on functions, from 5.15 on
 * (dd6e10fbd9fb, "bpf: Add bpf_task_pt_regs() helper"). Under names of our own, as copy_from_kernel in net.h. */
static void *(*running_task)(void) = (void *)BPF_FUNC_get_current_task_btf;
static void *(*registers_of)(void *task) = (void *)BPF_FUNC_task_pt_regs;

static inline u32 is_32_bit(void *task)
{
#ifdef ON_ARM64
	unsigned long flags = 0;

	read_kernel(flags, task, struct task_struct, thread_info.flags);
	return !!(flags & ARM64_COMPAT);
#else
	u32 status = 0;

	read_kernel(status, task, struct task_struct, thread_info.status);
	return status & X86_COMPAT;
#endif
}

static inline u32 number_of(void *regs)
{
#ifdef ON_ARM64
	u32 number = 0;

	read_kernel(number, regs, struct pt_regs, syscallno);
	return number;
#else
	u64 number = 0;

	read_kernel(number, regs, struct pt_regs, orig_ax);
	return (u32)number & ~X32_BIT;
#endif
}

/* Of a call that has ended: where the result is now, the first argument was on arm64. */
static inline u64 argument(void *regs, u32 compat, u32 number)
{
	u64 value = 0;

#ifdef ON_ARM64
	if (number == 0)
		read_kernel(value, regs, struct pt_regs, orig_x0);
	else
		copy_from_kernel(&value, sizeof(value), regs + offsetof(struct pt_regs, regs) + number * sizeof(value));
#else
	if (number == 0 && compat)
		read_kernel(value, regs, struct pt_regs, bx);
	else if (number == 0)
		read_kernel(value, regs, struct pt_regs, di);
	else if (number == 1 && compat)
		read_kernel(value, regs, struct pt_regs, cx);
	else if (number == 1)
		read_kernel(value, regs, struct pt_regs, si);
	else if (number == 2)
		read_kernel(value, regs, struct pt_regs, dx);
#endif
	return compat ? (u32)value : value;
}

/* What a descriptor of the running process is. */
static inline void *file_of(void *task, u32 descriptor)
{
	void *files = 0, *table = 0, *place = 0, *file = 0;
	u32 most = 0;

	read_kernel(files, task, struct task_struct, files);
	read_kernel(table, files, struct files_struct, fdt);
	read_kernel(most, table, struct fdtable, max_fds);
	if (descriptor >= most)
		return 0;
	read_kernel(place, table, struct fdtable, fd);
	copy_from_kernel(&file, sizeof(file), place + (u64)descriptor * sizeof(file));
	return file;
}

static inline void start_at_file(struct name_search *at, void *file)
{
	at->mount = 0;
	at->dentry = 0;
	read_kernel(at->mount, file, struct file, f_path.mnt);
	read_kernel(at->dentry, file, struct file, f_path.dentry);
}

/* Where a relative name begins. */
static inline void start_at_directory(struct name_search *at, void *task, int descriptor)
{
	void *fs = 0;

	if (descriptor != AT_FDCWD) {
		start_at_file(at, file_of(task, descriptor));
		return;
	}
	read_kernel(fs, task, struct task_struct, fs);
	read_kernel(at->mount, fs, struct fs_struct, pwd.mnt);
	read_kernel(at->dentry, fs, struct fs_struct, pwd.dentry);
}

/* The next component of a path, from its end on; 0 where it was the last. One without a name is a mount that was left. */
static inline u32 climb(struct name_search *at)
{
	void *parent = 0, *name = 0, *root = 0, *dentry = at->dentry, *here = at->mount - offsetof(MOUNT, mnt);

	__builtin_memset(&at->name, 0, sizeof(at->name));
	read_kernel(root, here, MOUNT, mnt.mnt_root);
	if (dentry == root) {
		read_kernel(parent, here, MOUNT, mnt_parent);
		read_kernel(at->dentry, here, MOUNT, mnt_mountpoint);
		at->mount = parent + offsetof(MOUNT, mnt);
		return parent && parent != here;
	}
	read_kernel(name, dentry, struct dentry, d_name.name);
	read_kernel(parent, dentry, struct dentry, d_parent);
	text_from_kernel(&at->name, sizeof(at->name), name);
	at->dentry = parent;
	return parent && parent != dentry;
}

static inline void begin_search(struct name_search *search)
{
	__builtin_memset(&search->name, 0, sizeof(search->name));
	*(volatile u32 *)&search->length = 0;
}

/* The next byte of the text. 1 where a name is complete; then begin_search() goes before the next one. */
static inline u32 goes_on(struct name_search *search, u8 letter)
{
	u64 length = *(volatile u32 *)&search->length;

	UNKNOWN_TO_COMPILER(length);
	if (letter == '/' || !letter)
		return 1;
	if (length < FILE_NAME_BYTES - 1) {
		search->name.bytes[length] = letter;
		*(volatile u32 *)&search->length = length + 1;
	}
	return 0;
}

//! fragments

/* args: registers, result (include/trace/events/syscalls.h) */
int on_system_call_end(struct bpf_raw_tracepoint_args *ctx)
{
	struct system_call ended = {}, *call = &ended;

	call->ctx = ctx;
	call->number = number_of((void *)ctx->args[0]);
	//! on_system_call
	return 0;
}
