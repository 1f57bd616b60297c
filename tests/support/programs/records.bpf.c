// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which packets were there, one record each, in a ring that is far too small? */
struct packet_record {
	u64 number;
	u64 length;
};

struct records_books {
	u64 seen;
	u64 ring_full;
};

BPF_RINGBUF_OUTPUT(records, 1);
BPF_PERCPU_ARRAY(books_records, struct records_books, 1);

static inline void on_packet_records(struct __sk_buff *skb, struct packet *p)
{
	int row = 0;
	struct records_books *books = books_records.lookup(&row);
	struct packet_record *record;

	if (!books)
		return;
	__sync_fetch_and_add(&books->seen, 1);
	record = records.ringbuf_reserve(sizeof(*record));
	if (!record) {
		__sync_fetch_and_add(&books->ring_full, 1);
		return;
	}
	record->number = books->seen;
	record->length = p->length;
	records.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}
