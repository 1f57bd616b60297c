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
	d->has_length = digits - 1 < HTTP_PLACES;
	d->is_coded |= !d->has_length;
	b->length_at = 0;
}

/* As pass_long_line(), of a direction that is known to carry requests. */
static inline void skim_long_line(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u64 word = http_word(b, b->line), behind = http_word(b, b->line + 8) | HTTP_LOWER, other;

	if (d->long_line || b->end - b->line <= HTTP_CARRY)
		return;
	d->long_line = 1;
	if (d->state == HTTP_AT_START) {
		d->method = http_method(word);
		return;
	}
	word |= HTTP_LOWER;
	other = (word ^ HTTP_BYTES('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) |
		(behind ^ HTTP_BYTES('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n'));
	word = (word ^ HTTP_BYTES('c', 'o', 'n', 't', 'e', 'n', 't', '-')) |
	       (HTTP_FIRST(behind, 7) ^ HTTP_BYTES('l', 'e', 'n', 'g', 't', 'h', ':', 0));
	if (!word || !other)
		d->is_coded = 1;
}

/* A bit for each of eight bytes whose highest bit is set. */
static inline u64 gather(u64 bits)
{
	return (bits >> 7) * 0x0102040810204080ULL >> 56;
}

/* How many bits are set, in the lower half. */
static inline u32 count_bits(u64 bits)
{
	bits -= bits >> 1 & 0x55555555;
	bits = (bits & 0x33333333) + (bits >> 2 & 0x33333333);
	bits = (bits + (bits >> 4)) & 0x0f0f0f0f;
	return (u32)(bits * 0x01010101) >> 24;
}

/* As look(), by one branch instead of four: the verifier walks each of them in every step. */
static inline u32 skim_line(volatile struct http_buffer *b)
{
	u32 at = b->at;
	u64 found = gather(line_feeds(http_word(b, at))) | gather(line_feeds(http_word(b, at + 8))) << 8 |
		    gather(line_feeds(http_word(b, at + 16))) << 16 | gather(line_feeds(http_word(b, at + 24))) << 24;

	b->newline = at + count_bits((found & -found) - 1);
	b->at = found ? b->newline + 1 : at + HTTP_STRIDE;
	return found && b->newline < b->end;
}

/* A line, or what of it is in the buffer, with the number in it and the head's end where that follows. Returns 0 where
 * there is nothing more to read, or it is no head. */
static inline u32 skim(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
		       volatile struct http_direction *d, volatile struct http_direction *other)
{
	volatile struct http_buffer *b = buffer;
	u32 length;

	b->has_ended = 0;
	if (!b->length_at) {
		if (d->body)
			skip_body(b, d);
		if (b->at >= b->end) {
			skim_long_line(b, d);
			return fill_buffer(skb, buffer);
		}
		if (!skim_line(b))
			return 1;
		length = b->newline - b->line;
		if (d->state == HTTP_AT_START) {
			skim_first_line(b, socket, d, other);
		} else if (!d->long_line) {
			b->has_ended = !length || (length == 1 && http_byte(b, b->line) == '\r');
			b->number = 0;
			b->digits = 0;
			read_field(b, d);
		}
		d->long_line = 0;
		b->line = b->at;
	}
	if (b->length_at) {
		skim_digits(b, d);
		if (b->length_at)
			return 1;
	}
	if (!b->has_ended) {
		if (d->state != HTTP_IN_HEAD || b->end - b->at < 2 || (u16)http_word(b, b->at) != ('\r' | '\n' << 8))
			return !b->is_over;
		b->at += 2;
		b->line = b->at;
	}
	end_head(b, socket, d);
	return !b->is_over && d->state == HTTP_AT_START && !d->is_open;
}
