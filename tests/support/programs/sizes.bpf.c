// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How many packets and bytes, by cgroup, and in which bucket are they? A byte counts as a microsecond. */
struct size_row {
	u64 packets;
	u64 bytes;
	u64 small;
	u64 large;
};

BPF_HASH(sizes, u64, struct size_row, MAX_SIZES);

static inline void on_packet_sizes(struct __sk_buff *skb, struct packet *p)
{
	struct size_row zero = {}, *row;

	row = sizes.lookup_or_try_init(&p->cgroup_id, &zero);
	if (!row)
		return;
	__sync_fetch_and_add(&row->packets, 1);
	__sync_fetch_and_add(&row->bytes, p->length);
	if (wait_seconds_bucket(1000ULL * p->length) == 0)
		__sync_fetch_and_add(&row->small, 1);
	if (wait_seconds_bucket(1000ULL * p->length) == WAIT_SECONDS_BUCKETS - 1)
		__sync_fetch_and_add(&row->large, 1);
}
