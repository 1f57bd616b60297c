// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What do heads say? First lines, the fields that tell where a body ends (RFC 9112 6), chunks and trailers.
 *
 * Hook:  none of its own. Part of http.bpf.c.
 */

/* Lines of a head in the buffer, and what of them is longer than a stride. */
#define HTTP_STEPS 48

static inline u32 http_method(u64 word)
{
	if (HTTP_FIRST(word, 4) == HTTP_BYTES('G', 'E', 'T', ' ', 0, 0, 0, 0))
		return HTTP_GET;
	if (HTTP_FIRST(word, 5) == HTTP_BYTES('P', 'O', 'S', 'T', ' ', 0, 0, 0))
		return HTTP_POST;
	if (HTTP_FIRST(word, 4) == HTTP_BYTES('P', 'U', 'T', ' ', 0, 0, 0, 0))
		return HTTP_PUT;
	if (HTTP_FIRST(word, 5) == HTTP_BYTES('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return HTTP_HEAD;
	if (HTTP_FIRST(word, 7) == HTTP_BYTES('D', 'E', 'L', 'E', 'T', 'E', ' ', 0))
		return HTTP_DELETE;
	if (HTTP_FIRST(word, 6) == HTTP_BYTES('P', 'A', 'T', 'C', 'H', ' ', 0, 0))
		return HTTP_PATCH;
	if (word == HTTP_BYTES('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return HTTP_OPTIONS;
	if (HTTP_FIRST(word, 6) == HTTP_BYTES('T', 'R', 'A', 'C', 'E', ' ', 0, 0))
		return HTTP_TRACE;
	if (word == HTTP_BYTES('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return HTTP_CONNECT;
	return HTTP_OTHER;
}

static inline u32 is_http_version(u64 word)
{
	u32 minor = word >> 56;

	return HTTP_FIRST(word, 7) == HTTP_BYTES('H', 'T', 'T', 'P', '/', '1', '.', 0) && minor - '0' < 10;
}

/* The status of "HTTP/1.1 200 ...", 0 of anything else. */
static inline u32 http_status(volatile struct http_buffer *b, u32 line)
{
	u64 word;
	u32 hundreds, tens, ones, behind;

	if (!is_http_version(http_word(b, line)))
		return 0;
	word = http_word(b, line + 8);
	hundreds = (u8)(word >> 8) - '0';
	tens = (u8)(word >> 16) - '0';
	ones = (u8)(word >> 24) - '0';
	behind = (u8)(word >> 32);
	if ((u8)word != ' ' || hundreds - 1 > 4 || tens > 9 || ones > 9)
		return 0;
	return behind == ' ' || behind == '\r' || behind == '\n' ? hundreds * 100 + tens * 10 + ones : 0;
}

/* What a first line begins with. */
static inline void begin_line(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	d->status = http_status(b, b->line);
	d->method = http_method(http_word(b, b->line));
}

static inline void read_first_line(volatile struct http_buffer *b, volatile struct http_socket *socket,
				   volatile struct http_direction *d, volatile struct http_direction *other,
				   u32 ingress)
{
	u32 newline = b->newline, line = b->line;

	if (newline != line)
		newline -= http_byte(b, newline - 1) == '\r';
	if (newline == line)
		return; /* RFC 9112 2.2: empty lines before a message are passed over */
	if (!d->long_line)
		begin_line(b, d);
	d->has_length = 0;
	d->is_coded = 0;
	d->is_chunked = 0;
	d->may_lack = 0;
	if (d->status) {
		if (!has_role(socket, other, ingress ? HTTP_CLIENT : HTTP_SERVER)) {
			http_fail(b, d);
			return;
		}
		d->state = HTTP_IN_HEAD;
		d->is_guess = 0;
		if (d->status >= 200 || d->status == 101)
			answer_request(b, socket, d, other);
		return;
	}
	if (newline - line < 12 || !is_http_version(http_word(b, newline - 8)) || http_byte(b, newline - 9) != ' ' ||
	    (d->is_guess && d->method == HTTP_OTHER) || !has_role(socket, other, ingress ? HTTP_SERVER : HTTP_CLIENT)) {
		http_fail(b, d);
		return;
	}
	d->state = HTTP_IN_HEAD;
	d->is_guess = 0;
	if (!d->long_line)
		log_begin(b, socket, d);
	b->head = d->head;
	open_request(b, socket, other, d->started_ns, d->method);
	d->started_ns = b->now_ns;
	body_begins(d);
}

/* A request whose end is not known: more of them may lie in what is left of the segment. */
static inline void fail_framing(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	http_fail(b, d);
	if (!d->status && (b->left || b->at < b->end))
		d->lost = HTTP_PASSED;
}

/* How long the body is: RFC 9112 6.3. */
static inline void end_head(volatile struct http_buffer *b, volatile struct http_socket *socket,
			    volatile struct http_direction *d)
{
	u32 status = d->status, answered = d->answered;

	d->state = HTTP_AT_START;
	if (status) {
		if (status < 200 || status == 204 || status == 304 || answered == HTTP_HEAD) {
			body_ends(b, d, 0);
			return;
		}
		if (answered == HTTP_UNKNOWN && !(d->has_length && !d->length)) {
			http_fail(b, d); /* it may have been HEAD */
			return;
		}
		if (!d->is_coded && !d->has_length) {
			run_to_end(b, d); /* the connection's */
			return;
		}
	}
	if (d->is_coded) {
		if (d->is_chunked)
			d->state = HTTP_AT_CHUNK;
		else
			fail_framing(b, d);
	} else if (d->has_length) {
		d->body = d->length;
		body_ends(b, d, d->length);
	} else {
		body_ends(b, d, 0);
	}
	d->is_open = d->may_lack;
}

/* RFC 9110 10.1.1: who expects 100 Continue and gets the final answer instead may keep the body back. And the request of
 * an answer may be a HEAD that has passed. What comes instead of the body is the next head, or there is the body. */
static inline void open_body(volatile struct http_buffer *b, volatile struct http_socket *socket,
			     volatile struct http_direction *d)
{
	u32 have = b->end - b->line, is_due = !d->status && (socket->first != socket->next || socket->beyond);
	u64 word = http_word(b, b->line);

	if (!is_due && have < 8 && (d->state == HTTP_AT_CHUNK || have < d->body)) {
		b->at = b->end;
		return;
	}
	b->at = b->line;
	d->is_open = 0;
	if (is_due || (d->status ? HTTP_FIRST(word, 7) != HTTP_BYTES('H', 'T', 'T', 'P', '/', '1', '.', 0)
				 : http_method(word) == HTTP_OTHER)) {
		d->started_ns = b->now_ns;
		return;
	}
	d->body = 0;
	d->state = HTTP_AT_START;
}

/* An answer that was read for its body's sake has ended, or is passed over: as in answer_request(). */
static inline void leave_answer(volatile struct http_buffer *b, volatile struct http_socket *socket,
				volatile struct http_direction *d, volatile struct http_direction *other)
{
	if (HTTP_FOLLOWS_ANSWERS && d->status >= 200 && d->state == HTTP_AT_START && !d->lost &&
	    !socket->is_pipelined && other->lost != HTTP_PASSED)
		http_fail(b, d);
}

/* RFC 9112 7.1: what begins a chunk; behind its bytes a line ends. */
static inline void read_chunk(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	read_number(b, b->line, 16);
	if (!b->digits)
		fail_framing(b, d);
	else if (b->number)
		d->body = b->number + 2;
	else
		d->state = HTTP_IN_TRAILER;
	body_grows(d, b->number);
}

static inline void read_field(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u32 line = b->line;
	u64 word = http_word(b, line) | HTTP_LOWER;

	if (word == HTTP_BYTES('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
		word = http_word(b, line + 8) | HTTP_LOWER;
		if (HTTP_FIRST(word, 7) == HTTP_BYTES('l', 'e', 'n', 'g', 't', 'h', ':', 0))
			b->length_at = line + 15;
	} else if (word == HTTP_BYTES('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) {
		word = http_word(b, line + 8) | HTTP_LOWER;
		if (word != HTTP_BYTES('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n'))
			return;
		d->is_coded = 1;
		word = http_word(b, b->newline - 8 - (http_byte(b, b->newline - 1) == '\r')) | HTTP_LOWER;
		d->is_chunked = word >> 8 == HTTP_BYTES('c', 'h', 'u', 'n', 'k', 'e', 'd', 0);
	} else if (HTTP_FIRST(word, 7) == HTTP_BYTES('e', 'x', 'p', 'e', 'c', 't', ':', 0)) {
		d->may_lack = !d->status;
	}
}

/* The rest of a head, or of a trailer, as far as it is in the buffer. Returns 1 at its end. */
static inline u32 read_fields(volatile struct http_buffer *b, volatile struct http_direction *d)
{
	u32 length;

	for (u32 step = 0; step < HTTP_STEPS; step++) {
		if (b->at >= b->end)
			return 0;
		if (!look(b))
			continue;
		if (b->newline >= b->end) {
			b->at = b->end;
			return 0;
		}
		length = b->newline - b->line;
		if (!d->long_line && (!length || (length == 1 && http_byte(b, b->line) == '\r'))) {
			b->line = b->at;
			return 1;
		}
		if (!d->long_line)
			read_field(b, d);
		d->long_line = 0;
		b->line = b->at;
	}
	return 0;
}

/* The line goes on beyond the buffer, and it does not fit in what is carried over. */
static inline void pass_long_line(volatile struct http_buffer *b, volatile struct http_socket *socket,
				  volatile struct http_direction *d)
{
	u64 word = http_word(b, b->line) | HTTP_LOWER, behind = http_word(b, b->line + 8) | HTTP_LOWER;

	if (d->long_line || b->end - b->line <= HTTP_CARRY)
		return;
	d->long_line = 1;
	if (d->state == HTTP_AT_CHUNK)
		http_fail(b, d);
	if (d->state == HTTP_AT_START) {
		begin_line(b, d);
		if (!socket->role && !d->method && !d->status)
			http_fail(b, d);
		else if (!d->status)
			log_begin(b, socket, d);
	} else if ((word == HTTP_BYTES('c', 'o', 'n', 't', 'e', 'n', 't', '-') &&
		    HTTP_FIRST(behind, 7) == HTTP_BYTES('l', 'e', 'n', 'g', 't', 'h', ':', 0)) ||
		   (word == HTTP_BYTES('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') &&
		    behind == HTTP_BYTES('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n'))) {
		d->is_coded = 1;
	}
}

/* One buffer, or one message. Returns 0 when there is nothing more to do. */
static inline u32 http_round(struct __sk_buff *skb, struct http_buffer *buffer, volatile struct http_socket *socket,
			     volatile struct http_direction *d, volatile struct http_direction *other, u32 ingress)
{
	volatile struct http_buffer *b = buffer;

	if (d->body && !d->is_open)
		skip_body(b, d);
	if (b->at >= b->end && !fill_buffer(skb, buffer))
		return 0;
	if (d->is_open) {
		open_body(b, socket, d);
		return 1;
	}
	if (d->state == HTTP_AT_START || d->state == HTTP_AT_CHUNK) {
		if (!find_newline(b)) {
			b->at = b->end;
			pass_long_line(b, socket, d);
			return !b->is_over;
		}
		if (d->state == HTTP_AT_CHUNK)
			read_chunk(b, d);
		else
			read_first_line(b, socket, d, other, ingress);
		d->long_line = 0;
		b->line = b->at;
	}
	if (d->state == HTTP_IN_HEAD || d->state == HTTP_IN_TRAILER) {
		b->length_at = 0;
		b->has_ended = read_fields(b, d);
		if (b->length_at) {
			read_number(b, b->length_at, 10);
			d->length = b->number;
			d->has_length = b->digits;
			d->is_coded |= !b->digits;
			b->length_at = 0;
		}
		if (b->has_ended) {
			if (d->state == HTTP_IN_HEAD) {
				end_head(b, socket, d);
			} else {
				d->state = HTTP_AT_START;
				body_ends(b, d, d->body_size);
			}
			leave_answer(b, socket, d, other);
		} else if (b->at >= b->end) {
			pass_long_line(b, socket, d);
		}
	}
	return !b->is_over;
}
