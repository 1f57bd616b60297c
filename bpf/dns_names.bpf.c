// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Which names did a watched workload ask for, and which addresses was it told?
 *
 * Hook:  none of its own: a part of packet.bpf.c. Of a datagram that is received it reads the port that it comes from,
 *        of one from port 53 whether the workload is watched, and copies those that are, for user space to read.
 * Owner: the socket's cgroup: who asked.
 * Blind: answers over TCP, TLS, HTTPS and QUIC, from another port, by a Unix socket (nscd, systemd-resolved); of an
 *        answer what is beyond DNS_BYTES; names from /etc/hosts.
 */
#include "process.h"

/* What resolvers are asked to keep to, so that no answer is in fragments (https://www.dnsflagday.net/2020/). */
#define DNS_BYTES 1232

/* 1 MiB holds some 4,000 answers of 200 bytes: of five seconds, the default time between two drains, 800 a second. */
#define DNS_RING_PAGES 256

#define DNS_PORT 53
#define UDP_HEADER 8

/* size: of the message; length: of its bytes here. resolver: whoever sent it, as in struct flow_key. */
struct dns_names_record {
	u64 time_ns;
	u64 cgroup_id;
	u32 resolver[4];
	u32 size;
	u32 length;
	u8 bytes[DNS_BYTES];
};

struct dns_names_books {
	u64 seen;
	u64 rate_limit;
	u64 ring_full;
};

BPF_RINGBUF_OUTPUT(dns_names, DNS_RING_PAGES);
BPF_HASH(dns_names_watches, u64, struct security_watch, MAX_CGROUPS + 1);
BPF_TABLE("lru_hash", u64, u64, dns_names_buckets, MAX_CGROUPS); /* one that is forgotten is full again */
/* Datagrams are received in softirqs, which do not interrupt each other: a CPU needs one. */
BPF_PERCPU_ARRAY(dns_names_scratches, struct dns_names_record, 1);
BPF_PERCPU_ARRAY(books_dns_names, struct dns_names_books, 1);

/* Its own row, or that of all who have none. */
static inline struct security_watch *dns_names_watch(u64 cgroup_id)
{
	struct security_watch *watch = dns_names_watches.lookup(&cgroup_id);
	u64 others = 0;

	if (!watch)
		watch = dns_names_watches.lookup(&others);
	return is_watched(watch) ? watch : 0;
}

static inline void read_resolver(struct __sk_buff *skb, u32 *address)
{
	u32 ipv4 = 0;

	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		bpf_skb_load_bytes(skb, 12, &ipv4, 4);
		set_ipv4(address, ipv4);
	} else {
		bpf_skb_load_bytes(skb, 8, address, 16);
	}
}

/* The length is one less while the verifier looks at it: before 6.8 it learns nothing of `!= 0`. Returns 0 for a
 * datagram without a message. */
static inline u32 copy_message(struct __sk_buff *skb, struct dns_names_record *record, u32 place)
{
	u64 last = skb->len - place - 1;

	if (skb->len <= place)
		return 0;
	record->size = last + 1;
	if (last >= DNS_BYTES)
		last = DNS_BYTES - 1;
	UNKNOWN_TO_COMPILER(last);
	if (last >= DNS_BYTES)
		return 0;
	record->length = last + 1;
	return bpf_skb_load_bytes(skb, place, record->bytes, last + 1) == 0;
}

static inline void tell_answer(struct __sk_buff *skb, struct packet *p, u64 cgroup_id)
{
	struct security_watch *watch = dns_names_watch(cgroup_id);
	struct dns_names_record *record;
	struct dns_names_books *books;
	u64 now_ns, size, zero = 0;
	int row = 0;

	if (!watch)
		return;
	record = dns_names_scratches.lookup(&row);
	books = books_dns_names.lookup(&row);
	if (!record || !books || !copy_message(skb, record, p->transport_offset + UDP_HEADER))
		return;
	__sync_fetch_and_add(&books->seen, 1);
	now_ns = bpf_ktime_get_ns();
	if (!take_token(watch, dns_names_buckets.lookup_or_try_init(&cgroup_id, &zero), now_ns)) {
		count_in(books, struct dns_names_books, rate_limit);
		return;
	}
	record->time_ns = now_ns;
	record->cgroup_id = cgroup_id;
	read_resolver(skb, record->resolver);
	size = offsetof(struct dns_names_record, bytes) + record->length;
	UNKNOWN_TO_COMPILER(size);
	if (size > sizeof(*record))
		size = sizeof(*record);
	if (dns_names.ringbuf_output(record, size, BPF_RB_NO_WAKEUP) < 0)
		count_in(books, struct dns_names_books, ring_full);
}

static inline void on_dns_answer(struct __sk_buff *skb, struct packet *p)
{
	u16 from = 0;

	if (!p->ingress || p->transport != TRANSPORT_UDP)
		return;
	bpf_skb_load_bytes(skb, p->transport_offset, &from, 2);
	if (from == bpf_htons(DNS_PORT))
		tell_answer(skb, p, p->key->cgroup_id);
}
