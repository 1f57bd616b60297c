// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What happens to a packet that the fragments of a test want to see? Two programs, one a direction. */
struct packet {
	struct bpf_sock *sk;
	u64 cgroup_id;
	u32 length;
	u32 ingress;
};

struct program_runs {
	u64 runs;
	u64 timed_runs;
	u64 timed_ns;
};

BPF_PERCPU_ARRAY(runs_on_ingress, struct program_runs, 1);

//! fragments

static inline int on_packet(struct __sk_buff *skb, u32 ingress)
{
	struct packet packet = {}, *p = &packet;

	p->sk = skb->sk;
	if (p->sk)
		p->sk = bpf_sk_fullsock(p->sk);
	if (!p->sk)
		return 1;
	p->cgroup_id = bpf_skb_cgroup_id(skb);
	p->length = skb->len;
	p->ingress = ingress;
	//! on_packet
	return 1;
}

int on_ingress(struct __sk_buff *skb)
{
	int row = 0;
	struct program_runs *runs = runs_on_ingress.lookup(&row);

	if (runs)
		__sync_fetch_and_add(&runs->runs, 1);
	return on_packet(skb, 1);
}

int on_egress(struct __sk_buff *skb)
{
	return on_packet(skb, 0);
}
