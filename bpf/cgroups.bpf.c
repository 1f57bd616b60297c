// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which cgroup is which? Names for the ids that all other programs count by, also of those that live for a moment.
 *
 * Hook:  raw tracepoints cgroup_mkdir and cgroup_rmdir: once per container start and end, nothing on any fast path.
 * Blind: cgroups made before the agent started: those are found by walking the file system.
 */
#include "net.h"

/* A pod's path has about 200 bytes; the tracepoint itself gives at most 1,024. A longer one is found by walking. */
#define MAX_PATH_BYTES 512

/* 64 pages of 4 KiB hold 480 records: five seconds, the longest time between two drains, of 96 changes each second. */
#define RING_PAGES 64

struct cgroup_event {
	u64 cgroup_id;
	u32 removed;
	s32 length; /* with the final zero; MAX_PATH_BYTES if it was cut */
	char path[MAX_PATH_BYTES];
};

struct cgroup_events_books {
	u64 seen;
	u64 ring_full;
};

BPF_RINGBUF_OUTPUT(cgroup_events, RING_PAGES);
BPF_PERCPU_ARRAY(books_cgroup_events, struct cgroup_events_books, 1);
BPF_PERCPU_ARRAY(runs_on_cgroup_made, struct program_runs, 1);
BPF_PERCPU_ARRAY(runs_on_cgroup_removed, struct program_runs, 1);

/* The unified hierarchy is number 0 (Documentation/admin-guide/cgroup-v2.rst). */
static inline int is_unified(void *cgroup)
{
	void *root = 0;
	int hierarchy = -1;

	read_kernel(root, cgroup, struct cgroup, root);
	read_kernel(hierarchy, root, struct cgroup_root, hierarchy_id);
	return hierarchy == 0;
}

static inline void report(struct bpf_raw_tracepoint_args *ctx, u32 removed)
{
	void *cgroup = (void *)ctx->args[0], *node = 0;
	struct cgroup_events_books *books;
	struct cgroup_event *event;
	int row = 0;

	if (!is_unified(cgroup))
		return;
	books = books_cgroup_events.lookup(&row);
	if (!books)
		return;
	__sync_fetch_and_add(&books->seen, 1);
	event = cgroup_events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		__sync_fetch_and_add(&books->ring_full, 1);
		return;
	}
	event->cgroup_id = 0;
	event->removed = removed;
	read_kernel(node, cgroup, struct cgroup, kn);
	read_kernel(event->cgroup_id, node, struct kernfs_node, id);
	event->length = bpf_probe_read_kernel_str(event->path, sizeof(event->path), (void *)ctx->args[1]);
	cgroup_events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

int on_cgroup_made(struct bpf_raw_tracepoint_args *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_cgroup_made.lookup(&row);
	u64 start_ns = count_run(runs);

	report(ctx, 0);
	time_run(runs, start_ns);
	return 0;
}

int on_cgroup_removed(struct bpf_raw_tracepoint_args *ctx)
{
	int row = 0;
	struct program_runs *runs = runs_on_cgroup_removed.lookup(&row);
	u64 start_ns = count_run(runs);

	report(ctx, 1);
	time_run(runs, start_ns);
	return 0;
}
