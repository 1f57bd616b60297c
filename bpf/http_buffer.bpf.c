// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* How are a segment's bytes read? The beginning of a line that a segment's end cuts is carried over; then the segment
 * comes to the buffer piece by piece, and in that, lines are found a stride a step.
 *
 * Hook:  none of its own. Part of http.bpf.c.
 */

/* Digits of a length and the spaces before them. */
#define HTTP_PLACES 18

static inline struct http_buffer *take_buffer(void)
{
	struct http_buffer *buffer;

#pragma unroll
	for (int level = 0; level < HTTP_LEVELS; level++) {
		int row = level;

		buffer = http_buffers.lookup(&row);
		if (!buffer)
			return 0;
		__sync_fetch_and_add(&buffer->in_use, 1);
		if (*(volatile u64 *)&buffer->in_use == 1) {
			buffer->level = level;
			return buffer;
		}
		__sync_fetch_and_add(&buffer->in_use, -1);
	}
	return 0;
}

static inline u64 http_word(volatile struct http_buffer *b, u32 at)
{
	return *(volatile u64 *)(b->bytes + (at & (HTTP_BUFFER - 1)));
}

static inline u32 http_byte(volatile struct http_buffer *b, u32 at)
{
	return b->bytes[at & (HTTP_BUFFER - 1)];
}

/* Bytes as a number in the order in which they lie in memory (x86-64, arm64). */
#define HTTP_BYTES(a, b, c, d, e, f, g, h)                                                                             \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | (u64)(f) << 40 |                \
	 (u64)(g) << 48 | (u64)(h) << 56)
#define HTTP_FIRST(word, count) ((word) & (~0ULL >> (64 - 8 * (count))))
#define HTTP_LOWER 0x2020202020202020ULL

/* The highest bit of the first of eight bytes that is a line feed is set, and no lower one; 0 of none. */
static inline u64 line_feeds(u64 word)
{
	word ^= 0x0a0a0a0a0a0a0a0aULL;
	return (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
}

/* The number of the lowest byte whose highest bit is set. */
static inline u32 first_byte(u64 bits)
{
	return ((bits & -bits) >> 7) * 0x0001020304050607ULL >> 56;
}

/* White space (RFC 9110 5.6.3), or what nobody writes before a number: by one comparison. */
static inline u32 is_space(u32 byte)
{
	return !(byte & ~(' ' | '\t'));
}

/* Digits from `at` on, behind spaces, up to what is none: the line's end at the latest. */
static inline void read_number(volatile struct http_buffer *b, u32 at, u32 base)
{
	u32 byte, digit, digits = 0;

	b->number = 0;
	b->digits = 0;
	for (u32 place = 0; place < HTTP_PLACES; place++) {
		byte = http_byte(b, at + place);
		digit = byte - '0';
		if (base == 16 && digit > 9)
			digit = (byte | 0x20) - 'a' < 6 ? (byte | 0x20) - 'a' + 10 : base;
		if (digit < base) {
			b->number = b->number * base + digit;
			b->digits = 1;
		} else if (!is_space(byte) || b->digits) {
			return;
		}
	}
	b->digits = 0;
}

static inline u32 copy_tail(volatile struct http_buffer *b, volatile u64 *to)
{
	u32 end = b->end, length = end - b->line;

#pragma unroll
	for (int word = 0; word < HTTP_CARRY / 8; word++)
		to[word] = http_word(b, end - HTTP_CARRY + word * 8);
	return length < HTTP_CARRY ? length : HTTP_CARRY;
}

/* From 1 to `most`, so that the verifier sees both bounds: before 6.8 it learns nothing of `!= 0`. */
#define is_length(length, most)                                                                                        \
	({                                                                                                             \
		u64 last = length - 1;                                                                                 \
		u32 is_in;                                                                                             \
		HTTP_FORGET(last);                                                                                     \
		is_in = last < most;                                                                                   \
		HTTP_FORGET(last);                                                                                     \
		length = last + 1;                                                                                     \
		is_in;                                                                                                 \
	})

/* The segment's next bytes, behind what is there of an unfinished line. Returns 0 where there are none. */
static inline u32 fill_buffer(struct __sk_buff *skb, struct http_buffer *b)
{
	volatile struct http_buffer *v = b;
	u64 length = v->left, window = v->window;

	if (!length)
		return 0;
	if (v->line < v->end)
		v->line = HTTP_CARRY - copy_tail(v, (volatile u64 *)v->bytes);
	else
		v->line = HTTP_CARRY;
	v->window = HTTP_WINDOW;
	if (length > window)
		length = window;
	if (!is_length(length, HTTP_WINDOW))
		return 0;
	if (bpf_skb_load_bytes(skb, v->offset, b->bytes + HTTP_CARRY, length) < 0)
		return 0;
	v->left -= length;
	v->offset += length;
	v->at = HTTP_CARRY;
	v->end = HTTP_CARRY + length;
	return 1;
}

static inline void skip_body(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u64 here = b->end - b->at, body = d->body;

	if (body <= here) {
		b->at += body;
	} else {
		b->at = b->end;
		body -= here;
		here = b->left;
		if (here > body)
			here = body;
		b->offset += here;
		b->left -= here;
		d->body = body - here;
		b->line = b->at;
		return;
	}
	d->body = 0;
	b->line = b->at;
}

/* Looks at the next bytes. Sets newline if they have one, and passes over them if not. */
static inline u32 look(volatile struct http_buffer *b)
{
	u32 at = b->at;
	u64 first = line_feeds(http_word(b, at)), second = line_feeds(http_word(b, at + 8));
	u64 third = line_feeds(http_word(b, at + 16)), fourth = line_feeds(http_word(b, at + 24));

	if (!(first | second | third | fourth)) {
		b->at = at + HTTP_STRIDE;
		return 0;
	}
	if (!first) {
		at += 8;
		first = second;
	}
	if (!first) {
		at += 8;
		first = third;
	}
	if (!first) {
		at += 8;
		first = fourth;
	}
	b->newline = at + first_byte(first);
	b->at = b->newline + 1;
	return 1;
}

/* Sets newline where the line ends in the buffer; 0 if it does not. */
static inline u32 find_newline(volatile struct http_buffer *b)
{
	for (u32 stride = 0; stride < HTTP_BUFFER / HTTP_STRIDE; stride++) {
		if (look(b))
			return b->newline < b->end;
		if (b->at >= b->end)
			break;
	}
	return 0;
}

static inline void keep_rest(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	d->carried = 0;
	if (!d->lost && b->line < b->end)
		d->carried = copy_tail(b, (volatile u64 *)d->carry);
}

static inline void begin_buffer(volatile struct http_buffer *b, volatile struct http_direction *d, u32 offset,
				u32 length, u32 is_short)
{
	volatile u64 *from = (volatile u64 *)d->carry, *to = (volatile u64 *)b->bytes;

	if (d->carried) {
#pragma unroll
		for (int word = 0; word < HTTP_CARRY / 8; word++)
			to[word] = from[word];
	}
	b->now_ns = bpf_ktime_get_ns();
	b->line = HTTP_CARRY - d->carried;
	b->at = HTTP_CARRY;
	b->end = HTTP_CARRY;
	b->offset = offset;
	b->left = length;
	b->window = is_short ? HTTP_SHORT_WINDOW : HTTP_WINDOW;
	b->calls = 0;
	b->is_over = 0;
	b->answers = 0;
	b->pipelined = 0;
	b->gap = 0;
	b->no_request = 0;
#ifdef WITH_HTTP_LOG
	b->heads = 0;
	b->payload = offset;
#endif
#ifdef WITH_HTTP_BODIES
	b->bodies_ended = 0;
#endif
	if (d->state != HTTP_AT_START || !d->carried)
		d->started_ns = b->now_ns;
}
