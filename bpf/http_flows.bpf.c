// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* With whom does each workload exchange HTTP requests, how many of them fail, how long do they take?
 *
 * Hook:  none of its own: http.bpf.c calls it for each request that it has counted. One look-up.
 * Counts: by the flow key of the packet programs, so that requests stand beside the bytes and connections of the same
 *        peer and service port; both sides of one peer in one row.
 * Errors: what http.bpf.c's reader gives an error_type: no answer, 5xx, and for the client 4xx too.
 */
/* Each as client, as server. A request is one addition to one of the counts, so that a row that is read meanwhile has it
 * as a success, or as an error, or not yet. */
struct http_flow {
	u64 successes[2];
	u64 errors[2];
	u64 total_ns[2];
};

struct http_peers_books {
	u64 seen;
	u64 map_full;
};

BPF_HASH(http_flows, struct flow_key, struct http_flow, MAX_HTTP_FLOWS);
BPF_HASH(http_flow_others, struct flow_key, struct http_flow, 2 * MAX_CGROUPS); /* two families */
BPF_PERCPU_ARRAY(books_http_peers, struct http_peers_books, 1);

static inline u32 is_http_error(struct http_key *key)
{
	return !key->status || key->status >= (key->role == HTTP_SERVER ? 500 : 400);
}

/* Rare: there is no row for this peer yet, or no room for one. */
static inline struct http_flow *make_http_flow(struct flow_key *flow, struct http_peers_books *books)
{
	struct http_flow zero = {}, *row;
	struct flow_key other;

	row = http_flows.lookup_or_try_init(flow, &zero);
	if (row)
		return row;
	if (books)
		__sync_fetch_and_add(&books->map_full, 1);
	other = *flow;
	forget_peer(&other);
	return http_flow_others.lookup_or_try_init(&other, &zero);
}

static inline void count_http_flow(struct flow_key *flow, u32 role, u32 is_error, u64 duration_ns)
{
	u32 side = role == HTTP_SERVER;
	struct http_peers_books *books;
	struct http_flow *row;
	int first = 0;

	books = books_http_peers.lookup(&first);
	if (books)
		__sync_fetch_and_add(&books->seen, 1);
	row = http_flows.lookup(flow);
	if (!row)
		row = make_http_flow(flow, books);
	if (!row)
		return;
	__sync_fetch_and_add(&row->total_ns[side], duration_ns);
	if (is_error)
		__sync_fetch_and_add(&row->errors[side], 1);
	else
		__sync_fetch_and_add(&row->successes[side], 1);
}
