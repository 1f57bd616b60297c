// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How many bytes and packets does each workload exchange, and with whom?
 *
 * Hook:  fragment of packet.bpf.c: one addition to the row that it has found and counted the packet in.
 * Counts: bytes from the IP header on, packets as the kernel passes them, retransmitted and duplicated ones included:
 *        what the interface counts.
 * Blind: as packet.bpf.c.
 */
static inline void on_packet_traffic(struct __sk_buff *skb, struct packet *p)
{
	if (!p->flow)
		return;
	if (p->ingress)
		__sync_fetch_and_add(&p->flow->received_bytes, p->length);
	else
		__sync_fetch_and_add(&p->flow->sent_bytes, p->length);
}
