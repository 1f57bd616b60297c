// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Where is each direction of a connection? Its place is a TCP sequence number: what lies before it has been read, so
 * that nothing is read twice.
 *
 * Hook:  none of its own. Part of http.bpf.c.
 * Blind: one range of what came before its turn is remembered; the place is lost if a head may lie in it.
 */

/* Payloads that are no head of HTTP: in a row in one direction, until the other one speaks; and in all. */
#define HTTP_MISSES_IN_A_ROW 4
#define HTTP_MISSES 8

/* Sequence numbers are compared by their difference: a body is passed over in parts that are far from half of them. */
#define HTTP_JUMP (1 << 30)

/* Nothing of this direction can be read until it is known again where a message begins. */
static inline void lose_place(volatile struct http_direction *d, u32 loss)
{
	if (d->ahead_from != d->ahead_to && (s32)(d->ahead_to - d->position) > 0)
		d->position = d->ahead_to;
	lose_body(d);
	d->lost = loss;
	d->state = HTTP_AT_START;
	d->body = 0;
	d->carried = 0;
	d->long_line = 0;
	d->is_open = 0;
	d->ahead_from = 0;
	d->ahead_to = 0;
}

static inline void http_fail(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	lose_place(d, d->is_guess == HTTP_PASSED ? HTTP_PASSED : HTTP_UNKNOWN_END);
	b->is_over = 1;
}

/* A message begins at this direction's position. */
static inline void find_place(volatile struct http_direction *d)
{
	lose_place(d, HTTP_NOT_LOST);
	d->is_guess = 0;
}

/* A socket that has not spoken HTTP yet is asked for it a few times only. */
static inline void miss(volatile struct http_socket *socket, u32 ingress)
{
	if (socket->missed != ingress + 1)
		socket->misses_in_a_row = 0;
	socket->missed = ingress + 1;
	socket->misses_in_a_row += 1;
	socket->misses += 1;
	if (socket->misses >= HTTP_MISSES)
		socket->is_off = 1;
}

static inline u32 is_tired(volatile struct http_socket *socket, u32 ingress)
{
	return !socket->role && socket->missed == ingress + 1 && socket->misses_in_a_row >= HTTP_MISSES_IN_A_ROW;
}

/* Is there something to read at the beginning of what is new in this direction? Which role its sender has is known, or
 * its first line will tell. */
static inline u32 may_begin(volatile struct http_socket *socket, u32 ingress)
{
	u32 carries_requests = socket->role == (ingress ? HTTP_SERVER : HTTP_CLIENT);

	if (is_tired(socket, ingress))
		return 0;
	if (!socket->role)
		return 1;
	if (carries_requests && socket->is_hopeless)
		return 1;
	return carries_requests && !socket->is_pipelined && socket->first == socket->next && !socket->beyond;
}

/* As tcp_sequence() in net/ipv4/tcp_input.c: the hook sees what the socket will refuse, too. */
static inline u32 is_in_window(struct packet *p, u32 start)
{
	struct tcp_sock *tcp;
	u32 acknowledged = 0, window = 0;

	if (!p->is_connection)
		return 1;
	tcp = bpf_skc_to_tcp_sock(p->sk);
	if (!tcp)
		return 0;
	read_kernel(acknowledged, tcp, struct tcp_sock, rcv_wup);
	read_kernel(window, tcp, struct tcp_sock, rcv_wnd);
	return (s32)(start - acknowledged - window) <= 0;
}

/* Sets where in the segment to begin to read; 0 where there is nothing to. */
static inline u32 is_new(struct packet *p, volatile struct http_socket *socket, volatile struct http_direction *d,
			 u32 start, u32 end, u32 *passed)
{
	u32 ingress = p->ingress;
	s32 gap = start - d->position;

	*passed = 0;
	if ((s32)(end - d->position) <= 0 || (ingress && gap > 0 && !is_in_window(p, start)))
		return 0;
	if (d->lost) {
		body_passes(d, end);
		d->position = end;
		if (gap < 0 || !may_begin(socket, ingress)) {
			if (socket->is_pipelined)
				d->lost = HTTP_PASSED;
			return 0;
		}
		d->is_guess = d->lost;
		d->lost = 0;
		return 1;
	}
	if (gap <= 0) {
		*passed = -gap;
		return 1;
	}
	if (d->body >= gap + d->carried) {
		d->body -= gap + d->carried;
		d->carried = 0;
		d->is_open = 0;
		return 1;
	}
	if (!ingress) { /* nothing leaves before its turn: it has passed unseen */
		d->position = end;
		lose_place(d, HTTP_PASSED);
		return 0;
	}
	if (d->ahead_from == d->ahead_to) {
		d->ahead_from = start;
		d->ahead_to = end;
	}
	if ((s32)(start - d->ahead_from) < 0)
		d->ahead_from = start;
	if ((s32)(end - d->ahead_to) > 0)
		d->ahead_to = end;
	return 0;
}

/* Behind the segment and the body's part that is still to come. */
static inline void go_on(volatile struct http_direction *d, u32 end)
{
	u64 jump = d->body < HTTP_JUMP ? d->body : HTTP_JUMP;

	if (d->is_open)
		jump = 0;
	d->body -= jump;
	end += (u32)jump;
	if (d->ahead_from != d->ahead_to) {
		if ((s32)(end - d->ahead_to) >= 0) {
			d->ahead_from = 0;
			d->ahead_to = 0;
		} else if ((s32)(end - d->ahead_from) >= 0 && !d->body) {
			lose_place(d, HTTP_PASSED);
		}
	}
	if (!d->lost || (s32)(end - d->position) > 0)
		d->position = end;
}

/* Packets come in before the socket is locked (net/ipv4/tcp_ipv4.c: tcp_v4_rcv), so two CPUs may have one each of the
 * same direction. What one of them reads the other would spoil: it leaves, and its segment has passed unread. */
static inline u32 take_direction(volatile struct http_direction *d)
{
	__sync_fetch_and_add(&d->readers, 1);
	if (d->readers == 1)
		return 1;
	d->collided = 1;
	__sync_fetch_and_add(&d->readers, -1);
	return 0;
}

static inline void leave_direction(volatile struct http_direction *d)
{
	if (d->collided) {
		d->collided = 0;
		lose_place(d, HTTP_PASSED);
	}
	__sync_fetch_and_add(&d->readers, -1);
}
