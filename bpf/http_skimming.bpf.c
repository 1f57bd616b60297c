// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How many requests come behind those that are kept? They are only counted any more: a line a step, so that a call
 * reads many of them.
 *
 * Hook:  none of its own. Part of http.bpf.c.
 */

/* Are requests only counted here? */
static inline u32 is_skimmed(volatile struct http_socket *socket, volatile struct http_direction *d, u32 ingress)
{
	return (socket->beyond || socket->is_hopeless) && socket->role == (ingress ? HTTP_SERVER : HTTP_CLIENT) &&
	       d->state <= HTTP_IN_HEAD && !d->is_open;
}

static inline void skim_first_line(volatile struct http_buffer *b, volatile struct http_socket *socket,
				   volatile struct http_direction *d, volatile struct http_direction *other)
{
	u32 newline = b->newline, line = b->line;

	if (newline != line)
		newline -= http_byte(b, newline - 1) == '\r';
	if (newline == line)
		return;
	if (!d->long_line)
		d->method = http_method(http_word(b, line));
	d->status = 0;
	d->has_length = 0;
	d->is_coded = 0;
	d->is_chunked = 0;
	d->may_lack = 0;
	if (newline - line < 12 || !is_http_version(http_word(b, newline - 8)) || http_byte(b, newline - 9) != ' ') {
		http_fail(b, d);
		return;
	}
	d->state = HTTP_IN_HEAD;
	d->head = 0;
	b->head = 0;
	open_request(b, socket, other, d->started_ns, d->method);
	d->started_ns = b->now_ns;
	body_begins(d);
}

/* As many of the first seven bytes as are digits, and then no more. */
static inline u32 count_digits(u64 word)
{
	word ^= 0x3030303030303030ULL;
	return first_byte((((word & 0x007f7f7f7f7f7f7fULL) + 0x0076767676767676ULL) | word | 1ULL << 63) &
			  0x8080808080808080ULL);
}

/* Eight digits' values as one number, the first one in the lowest byte: pairs, then fours, then all. */
static inline u64 decimal(u64 word)
{
	word = (word * 10 + (word >> 8)) & 0x00ff00ff00ff00ffULL;
	word = (word * 100 + (word >> 16)) & 0x0000ffff0000ffffULL;
	return (u32)(word * 10000 + (word >> 32));
}

/* As read_number(), up to seven digits a step. */
static inline void skim_digits(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u32 at = b->length_at, digits = b->digits, count, places;
	u64 word;

	if (!digits && is_space(http_byte(b, at)))
		at += 1;
	word = http_word(b, at);
	count = count_digits(word);
	places = 56 - 8 * count; /* a one, and so many zeros; the digits, and so many zeros before them */
	b->number = b->number * decimal(1ULL << places) + decimal((word ^ 0x3030303030303030ULL) << 8 << places);
	digits += count;
	b->digits = digits;
	b->length_at = at + count;
	if (count == 7 || (!digits && is_space((u8)word)))
		return;
	d->length = b->number;
	d->has_length = digits && digits <= HTTP_PLACES;
	d->is_coded |= !d->has_length;
	b->length_at = 0;
}

/* A line, or what of it is in the buffer, with the head's end where that follows. Returns 0 where there is nothing more
 * to read, or it is no head. */
static inline u32 skim(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
		       volatile struct http_direction *d, volatile struct http_direction *other)
{
	volatile struct http_buffer *b = buffer;
	u32 length, has_ended = 0;

	if (b->length_at) {
		skim_digits(b, d);
		return 1;
	}
	if (d->body)
		skip_body(b, d);
	if (b->at >= b->end) {
		pass_long_line(b, socket, d);
		return !b->is_over && fill_buffer(skb, buffer);
	}
	if (!look(b))
		return 1;
	if (b->newline >= b->end) {
		b->at = b->end;
		return 1;
	}
	length = b->newline - b->line;
	if (d->state == HTTP_AT_START) {
		skim_first_line(b, socket, d, other);
	} else if (!d->long_line) {
		has_ended = !length || (length == 1 && http_byte(b, b->line) == '\r');
		b->number = 0;
		b->digits = 0;
		read_field(b, d);
	}
	d->long_line = 0;
	b->line = b->at;
	if (!has_ended) {
		if (d->state != HTTP_IN_HEAD || b->length_at || b->end - b->at < 2 ||
		    (u16)http_word(b, b->at) != ('\r' | '\n' << 8))
			return !b->is_over;
		b->at += 2;
		b->line = b->at;
	}
	end_head(b, socket, d);
	return !b->is_over && d->state == HTTP_AT_START && !d->is_open;
}
