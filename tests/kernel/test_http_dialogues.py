"""Is every request that HTTP's framing says there is counted, and nothing that only looks like one?

Witness: the test itself, which says every byte, each part in a segment of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import pytest
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup
from tests.support.dialogues import Connection, Dialogue
from tests.support.namespaces import Namespace, veth_pair
from tests.support.requests import active_requests, requests
from tests.support.scenes import Evening, Scene, wanted

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]
Rows = dict[tuple[str, str, str], int]

WORDS = ("seen", "delivered", "lost")

V4, V6 = "198.51.100.2", "2001:db8::2"
FIRST_PORT = 5001
AT_ONCE = 2
GET = b"GET /a?b=c HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
LOOKS_LIKE_A_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LOOKS_LIKE_AN_ANSWER = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"


class Stage:
    """Two workloads that talk. What a scene says is to be counted on each side, and lost on both."""

    def __init__(self, client: Cgroup, server: Cgroup, host: str, port: int) -> None:
        self.client, self.server, self.host = client, server, host
        self.dialogue = Dialogue(client, server, host, port)
        self.rows: tuple[Rows, Rows] | None = None
        self.lost: dict[str, int] = {}

    def connection(self, late: bytes = b"") -> AbstractContextManager[Connection]:
        return self.dialogue.connection(late)

    def counted(self, rows: Rows, client: Rows | None = None, **lost: int) -> None:
        """Both sides count these requests. client: what is different there. lost: by reason, of both sides."""
        self.rows = (rows, rows if client is None else client)
        self.lost = lost


Play = Callable[[Stage], None]
PLAYS: dict[str, Play] = {}


def play(scene: Play) -> Play:
    """Played to both address families; one after the other, for one page at the end."""
    PLAYS[scene.__name__.strip("_")] = scene
    return scene


def plays(**arguments: tuple[object, ...]) -> Callable[[Callable[..., None]], None]:
    """The same with each of these arguments."""
    ((name, values),) = arguments.items()

    def every(scene: Callable[..., None]) -> None:
        for value in values:
            PLAYS[f"{scene.__name__}, {name} {value}"] = partial(scene, **{name: value})

    return every


def body(size: int) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % size


@play
def every_method_is_itself(stage: Stage) -> None:
    methods = "CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split()
    others = ["PURGE", "M-SEARCH", "QUERY", "get", "GETS", "PROPFIND", "VERSION-CONTROL"]
    with stage.connection() as c:
        for number, method in enumerate([*methods, *others]):
            c.client(f"{method} /{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            c.server(b"HTTP/1.1 404 Not Found\r\n" + (body(0) if method == "HEAD" else body(2) + b"no"))
    rows = {(method, "404", ""): 1 for method in methods} | {("_OTHER", "404", ""): len(others)}
    stage.counted(rows, client={(method, status, "404"): count for (method, status, _), count in rows.items()})


@play
def every_status_is_itself(stage: Stage) -> None:
    statuses = (200, 201, 202, 206, 300, 301, 302, 400, 401, 404, 409, 418, 429, 499, 500, 502, 503, 504, 599)
    with stage.connection() as c:
        for status in statuses:
            c.client(GET)
            c.server(b"HTTP/1.1 %d Reason\r\n" % status + body(1) + b"x")
    stage.counted(
        {("GET", str(status), str(status) if status >= 500 else ""): 1 for status in statuses},
        client={("GET", str(status), str(status) if status >= 400 else ""): 1 for status in statuses},
    )


@play
def a_request_may_be_split_at_every_byte(stage: Stage) -> None:
    with stage.connection() as c:
        for cut in range(1, len(GET)):
            c.client(GET[:cut], GET[cut:])
            c.server(OK)
    stage.counted({("GET", "200", ""): len(GET) - 1})


@play
def an_answer_may_be_split_at_every_byte(stage: Stage) -> None:
    with stage.connection() as c:
        for cut in range(1, len(OK)):
            c.client(GET)
            c.server(OK[:cut], OK[cut:])
    stage.counted({("GET", "200", ""): len(OK) - 1})


@play
def requests_and_answers_may_come_byte_by_byte(stage: Stage) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"
    with stage.connection() as c:
        for request in (GET, post, GET):
            c.client(*(bytes([byte]) for byte in request))
            c.server(*(bytes([byte]) for byte in OK))
    stage.counted({("GET", "200", ""): 2, ("POST", "200", ""): 1})


@plays(depth=(2, 3, 5, 10, 16))
def pipelined_requests_are_one_row_each(stage: Stage, depth: int) -> None:
    with stage.connection() as c:
        for parts in ([GET * depth], [GET] * depth):
            for answers in ([OK * depth], [OK] * depth, [(OK * depth)[:30], (OK * depth)[30:]]):
                c.client(*parts)
                c.server(*answers)
    stage.counted({("GET", "200", ""): 6 * depth})


@play
def more_requests_than_are_kept_are_lost_by_number(stage: Stage) -> None:
    with stage.connection() as c:
        c.client(*[GET] * 23)
        c.server(*[OK] * 23)
        c.client(GET)
        c.server(OK)
    stage.counted({("GET", "200", ""): 17}, pipelined=2 * 7)


@play
def bodies_that_look_like_heads_are_bodies(stage: Stage) -> None:
    with stage.connection() as c:
        for _ in range(3):
            upload = [LOOKS_LIKE_A_REQUEST] * 4 + [LOOKS_LIKE_AN_ANSWER] * 4
            c.client(b"POST / HTTP/1.1\r\nHost: a\r\n" + body(len(b"".join(upload))), *upload)
            c.server(b"HTTP/1.1 200 OK\r\n" + body(len(b"".join(upload))), *upload)
            c.client(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            c.client(*(b"%x\r\n" % len(part) + part + b"\r\n" for part in upload), b"0\r\n\r\n")
            c.server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
            c.server(*(b"%X ; a=b\r\n" % len(part) + part + b"\r\n" for part in upload), b"0\r\nX: y\r\n\r\n")
    stage.counted({("POST", "200", ""): 3, ("PUT", "200", ""): 3})


@play
def an_answer_may_begin_before_the_requests_body_has_ended(stage: Stage) -> None:
    with stage.connection() as c:
        for _ in range(3):
            c.client(b"POST / HTTP/1.1\r\nHost: a\r\n" + body(4 * len(LOOKS_LIKE_A_REQUEST)), LOOKS_LIKE_A_REQUEST)
            c.server(b"HTTP/1.1 413 Too Large\r\n" + body(0))
            c.client(*[LOOKS_LIKE_A_REQUEST] * 3)
            c.client(GET)
            c.server(OK)
    stage.counted(
        {("POST", "413", ""): 3, ("GET", "200", ""): 3}, client={("POST", "413", "413"): 3, ("GET", "200", ""): 3}
    )


@play
def what_comes_before_the_final_answer_is_none(stage: Stage) -> None:
    with stage.connection() as c:
        for _ in range(3):
            c.client(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + body(5))
            c.server(b"HTTP/1.1 100 Continue\r\n\r\n")
            c.client(b"hello")
            c.server(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    stage.counted({("POST", "200", ""): 3})


EXPECT = b"PUT / HTTP/1.1\r\nHost: a\r\nEXPECT: 100-continue\r\n"
REFUSED = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno"


@plays(framing=(body(100_000), body(5), b"Transfer-Encoding: chunked\r\n\r\n"))
def a_body_that_is_kept_back_is_none(stage: Stage, framing: bytes) -> None:
    """RFC 9110 10.1.1: who gets the final answer instead of 100 Continue may go on with the next request."""
    with stage.connection() as c:
        for parts in ([GET], [GET[:3], GET[3:]], [bytes([byte]) for byte in GET]):
            c.client(EXPECT + framing)
            c.server(REFUSED)
            c.client(*parts)
            c.server(OK)
        c.client(EXPECT[:40], EXPECT[40:] + framing)
        c.server(REFUSED)
        c.client(b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        c.server(NO_CONTENT, OK)
    rows = {("PUT", "417", ""): 4, ("GET", "200", ""): 4, ("DELETE", "204", ""): 1}
    stage.counted(rows, client={("PUT", "417", "417"): 4, ("GET", "200", ""): 4, ("DELETE", "204", ""): 1})


@play
def a_body_that_is_sent_after_the_final_answer_is_one(stage: Stage) -> None:
    upload = b"hello " + LOOKS_LIKE_A_REQUEST
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    with stage.connection() as c:
        for framing, parts in (
            (body(len(upload)), [upload]),
            (body(len(upload)), [upload[:1], upload[1:5], upload[5:]]),
            (body(len(upload)), [upload[:9], LOOKS_LIKE_A_REQUEST[:3], LOOKS_LIKE_A_REQUEST[3:]]),
            (body(3), [b"G", b"ET"]),
            (body(4), [b"GET", b"s"]),
            (chunked, [b"%x\r\n" % len(upload), upload, b"\r\n0", b"\r\n\r\n"]),
            (chunked, [b"0\r\n\r\n"]),
        ):
            c.client(EXPECT + framing)
            c.server(REFUSED)
            c.client(*parts)
            c.client(GET)
            c.server(OK)
            c.client(EXPECT + framing)
            c.server(b"HTTP/1.1 100 Continue\r\n\r\n")
            c.client(*parts)
            c.server(NO_CONTENT)
    rows = {("PUT", "417", ""): 7, ("GET", "200", ""): 7, ("PUT", "204", ""): 7}
    stage.counted(rows, client={("PUT", "417", "417"): 7, ("GET", "200", ""): 7, ("PUT", "204", ""): 7})


@play
def of_requests_that_have_passed_unread_each_answer_is_lost_once(stage: Stage) -> None:
    """Whether one of them was HEAD, what follows on its answer's head tells."""
    head, without = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + body(12345)
    with stage.connection(late=GET * 2 + head + GET + head) as c:
        c.server(OK, OK + without + OK, without)
        c.client(GET)
        c.server(OK)
    with stage.connection(late=head * 4 + GET) as c:
        c.server(without, without, without[:30], without[30:] + without[:20], without[20:], OK)
        c.client(GET)
        c.server(OK)
    rows = {("GET", "200", ""): 2, ("HEAD", "200", ""): 2}
    stage.counted(rows, client={("GET", "200", ""): 6, ("HEAD", "200", ""): 6}, gap=8)


@plays(depth=(17, 64, 200, 1000))
def of_a_pipeline_of_any_depth_what_is_not_kept_is_lost_by_number(stage: Stage, depth: int) -> None:
    heads = (GET, b"HEAD /%s HTTP/1.1\r\n\r\n" % (b"x" * 600), b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"x" * 70))
    with stage.connection() as c:
        for head in heads if depth < 1000 else heads[:1]:
            c.client(head * depth)
            c.server(*[NO_CONTENT] * depth)
    counts = Counter(
        ("HEAD" if head.startswith(b"HEAD") else "GET", "204", "") for head in heads[: 3 if depth < 1000 else 1]
    )
    rows = {row: 16 * count for row, count in counts.items()}
    stage.counted(rows, pipelined=2 * (depth - 16) * sum(counts.values()))


@plays(length=(b"000000000000000000005", b"5\r\nTransfer-Encoding: deflate"))
def requests_behind_one_without_a_known_end_are_lost_by_number(stage: Stage, length: bytes) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\nhello" % length
    with stage.connection() as c:
        c.client(post * 3)
        c.server(OK * 2, OK)
        c.client(GET)
        c.server(OK)
    with stage.connection() as c:
        c.client(GET + post + GET * 3, GET)
        c.server(OK * 2, OK * 2, OK, OK)
    stage.counted({("POST", "200", ""): 2, ("GET", "200", ""): 1}, gap=14)


@play
def what_a_socket_refuses_moves_nothing(stage: Stage) -> None:
    """Segments outside its window."""
    if ":" in stage.host:
        stage.counted({})
        return
    with stage.connection() as c:
        for _ in range(3):
            c.client(GET)
            c.forge("server", OK)
            c.server(OK)
            c.forge("client", GET)
            c.forge("server", OK)
            c.client(GET * 2)
            c.server(OK[:20], OK[20:])
            c.forge("client", GET)
            c.server(OK)
    stage.counted({("GET", "200", ""): 9})


@play
def a_message_may_be_written_in_every_way_that_the_rfc_allows(stage: Stage) -> None:
    post = b"POST http://example.test/a?b HTTP/1.1\r\nhost: a\r\n"
    chunked = b"transfer-encoding: gzip,\tChunked\r\n\r\n"
    chunks = b'A;a="b;c"\r\nGET / HTTP\r\n' + b"00000000003 ; %s\r\n1.1\r\n0\r\n" % (b"x" * 20)
    trailers = b"Content-Length: 99\r\nX-Y: %s\r\n\r\n" % (b"z" * 700)
    posts = (
        post + b"content-length:5\r\n\r\nhello",
        post + b"CONTENT-LENGTH:\t  5 \t\r\n\r\nhello",
        post + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        post + b"X: y\r\n Content-Length: 77\r\n\tTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        post + b"Content-Length: 3\r\n" + chunked + chunks + b"\r\n",
        post + chunked[:-2] + b"Content-Length: 3\r\n\r\n" + chunks + trailers,
        b"\r\n\r\n\n" + post.replace(b"\r", b"") + b"Content-Length: 5\n\nhello",
        b"POST * HTTP/1.0\nConnection: keep-alive\r\nContent-Length: 5\n\r\nhello",
    )
    answers = (
        OK, b"HTTP" + OK.lower()[4:], OK.replace(b"OK", b""), b"HTTP/1.1 200" + OK[15:], OK.replace(b"\r", b""),
        b"HTTP/1.0 200 OK\r\n" + chunked + chunks + trailers,
    )  # fmt: skip
    with stage.connection() as c:
        for request in posts:
            for cut in (0, 3, len(request) - 9):
                c.client(*(part for part in (request[:cut], request[cut:]) if part))
                c.server(OK)
        for answer in answers:
            c.client(GET * 2)
            c.server(answer * 2)
        for request in posts:
            c.client(request * 2)
            c.server(OK, OK)
        c.client(GET)
        c.server(*[b"HTTP/1.1 %d X\r\nLink: </a>\r\n\r\n" % status for status in (100, 102, 103, 103, 199)] * 9 + [OK])
        c.client(GET)
        c.server(b"HTTP/1.1 200 OK\r\n\r\n", LOOKS_LIKE_AN_ANSWER, LOOKS_LIKE_AN_ANSWER)
    stage.counted({("POST", "200", ""): 5 * len(posts), ("GET", "200", ""): 2 * len(answers) + 2})


@play
def answers_without_a_body_have_none(stage: Stage) -> None:
    with stage.connection() as c:
        for _ in range(3):
            c.client(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            c.server(b"HTTP/1.1 200 OK\r\n" + body(12345))
            c.client(GET)
            c.server(b"HTTP/1.1 304 Not Modified\r\n" + body(12345))
            c.client(b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n")
            c.server(NO_CONTENT)
            c.client(GET * 2)
            c.server(NO_CONTENT + OK)
    stage.counted({("HEAD", "200", ""): 3, ("GET", "304", ""): 3, ("DELETE", "204", ""): 3, ("GET", "204", ""): 3,
                   ("GET", "200", ""): 3})  # fmt: skip


@play
def an_upgrade_is_a_request_and_then_silence(stage: Stage) -> None:
    with stage.connection() as c:
        c.client(b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        c.server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        for _ in range(5):
            c.client(LOOKS_LIKE_A_REQUEST)
            c.server(LOOKS_LIKE_AN_ANSWER)
    stage.counted({("GET", "101", ""): 1})


@play
def a_tunnel_is_a_request_and_then_silence(stage: Stage) -> None:
    with stage.connection() as c:
        c.client(b"CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n")
        c.server(b"HTTP/1.1 407 Proxy Authentication Required\r\n" + body(2) + b"no")
        c.client(b"CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\nProxy-Authorization: x\r\n\r\n")
        c.server(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for _ in range(5):
            c.client(LOOKS_LIKE_A_REQUEST)
            c.server(LOOKS_LIKE_AN_ANSWER)
    stage.counted({("CONNECT", "407", ""): 1, ("CONNECT", "200", ""): 1},
                  client={("CONNECT", "407", "407"): 1, ("CONNECT", "200", ""): 1})  # fmt: skip


@plays(end=(("client", "reset"), ("client", "closed"), ("server", "reset"), ("server", "closed")))
def requests_without_an_answer_are_counted_as_what_ended_them(stage: Stage, end: tuple[str, str]) -> None:
    who, reset = end[0], end[1] == "reset"
    for _ in range(3):
        c = stage.dialogue.open()
        c.client(GET)
        c.server(OK)
        c.client(b"POST / HTTP/1.1\r\nHost: a\r\n" + body(5), b"hello")
        c.close(who, reset=reset)
    ends = {side: "reset" if reset and side != who else "closed" for side in ("client", "server")}
    stage.counted({("GET", "200", ""): 3, ("POST", "", ends["server"]): 3},
                  client={("GET", "200", ""): 3, ("POST", "", ends["client"]): 3})  # fmt: skip


@play
def a_request_that_comes_with_the_handshakes_last_packet_is_counted(stage: Stage) -> None:
    for _ in range(5):
        with stage.connection(late=GET) as c:
            c.server(OK)
            c.client(GET)
            c.server(OK)
    stage.counted({("GET", "200", ""): 10})


@play
def of_a_pipeline_in_the_handshakes_last_packet_what_is_not_read_is_lost_by_number(stage: Stage) -> None:
    """On the listener's socket two heads are read at most."""
    for _ in range(3):
        with stage.connection(late=GET * 5) as c:
            c.server(OK * 5)
            c.client(GET)
            c.server(OK)
    stage.counted({("GET", "200", ""): 6}, client={("GET", "200", ""): 18}, gap=12)


@plays(size=(100, 400, 448, 449, 1000, 3000))
def long_lines_are_followed(stage: Stage, size: int) -> None:
    long = b"/" + b"x" * size
    with stage.connection() as c:
        for cut in (0, 1, 60, 70, size // 2, size):
            request = b"POST " + long + b" HTTP/1.1\r\nHost: a\r\nCookie: " + long + b"\r\n" + body(3) + b"GET"
            c.client(*(part for part in (request[:cut], request[cut:]) if part))
            c.server(b"HTTP/1.1 200 " + long + b"\r\nSet-Cookie: " + long + b"\r\n" + body(4) + b"HTTP")
    stage.counted({("POST", "200", ""): 6})


@plays(field=("Content-Security-Policy", "Content-Disposition", "Transferred-By", "content-type"))
def long_fields_that_only_begin_like_those_of_a_length_are_passed_over(stage: Stage, field: str) -> None:
    long = b"%s: %s\r\n" % (field.encode(), b"x" * 900)
    with stage.connection() as c:
        for _ in range(3):
            c.client((b"POST / HTTP/1.1\r\nHost: a\r\n" + long + body(3) + b"GET") * 2)
            c.server((b"HTTP/1.1 200 OK\r\n" + long + body(4) + b"HTTP") * 2)
    stage.counted({("POST", "200", ""): 6})


@play
def methods_without_end_are_one_row(stage: Stage) -> None:
    with stage.connection() as c:
        for number in range(101):
            c.client(b"M%d%s / HTTP/1.1\r\nHost: a\r\n\r\n" % (number, b"x" * number))
            c.server(OK)
    stage.counted({("_OTHER", "200", ""): 101})


@play
def bytes_that_no_text_has_do_not_disturb(stage: Stage) -> None:
    hostile = b"\0\x1b[31m\xff\x7f\t\r"
    with stage.connection() as c:
        for method in (b"GET", b"G\0T", b"\x1b[2J", b"\xc3\xa9"):
            c.client(b"%s /%s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n\r\n" % (method, hostile, hostile, hostile, hostile))
            c.server(b"HTTP/1.1 200 " + hostile + b"\r\n" + hostile + b"\r\n" + body(5) + b"hello")
    stage.counted({("GET", "200", ""): 1, ("_OTHER", "200", ""): 3})


@play
def a_head_of_100_kb_is_one_request(stage: Stage) -> None:
    """Of segments that hold more of it than is read (58 kB) its end is not seen: the next request is, again."""
    with stage.connection() as c:
        for _ in range(3):
            c.client(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Pad: %s\r\n" % (b"p" * 1000) * 100 + b"\r\n")
            c.server(b"HTTP/1.1 431 Too Large\r\n" + body(0))
            c.client(GET)
            c.server(OK)
    rows = {("GET", "431", ""): 3, ("GET", "200", ""): 3}
    stage.counted(rows, client={("GET", "431", "431"): 3, ("GET", "200", ""): 3})


@play
def lengths_that_are_none_end_what_can_be_followed_and_nothing_else(stage: Stage) -> None:
    """Whoever asks once at a time is found again with the next request."""
    wrong = (b"-1", b"99999999999999999999", b"18446744073709551616", b"0x5", b"", b"5 5", b"\0")
    for length in wrong:
        with stage.connection() as c:
            c.client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n" % length)
            c.server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %s\r\n\r\n" % length)
    rows = {("POST", "400", ""): len(wrong)}
    stage.counted(rows, client={("POST", "400", "400"): len(wrong)})


@play
def what_only_begins_like_http_counts_nothing(stage: Stage) -> None:
    """Each on a connection of its own: a status that is none, a version that is none, a line without an end."""
    for line in (b"GET / HTTP/1.x\r\n\r\n", b"GET /" + b"x" * 5000, b"GET / HTTP/1.1", b"GET  HTTP/3.0\r\n\r\n"):
        with stage.connection() as c:
            for _ in range(9):
                c.client(line)
            c.server(b"HTTP/1.1 099 OK\r\n\r\n", b"HTTP/1.1 999 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n")
    stage.counted({})


@play
def what_is_no_http_counts_nothing(stage: Stage) -> None:
    others = (
        (b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", b"$1\r\nb\r\n"),
        (b"GET a\r\n", b"+OK\r\n"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x16\x03\x03\x00\x7a"),
        (b"OPTIONS rtsp://example.test/ RTSP/1.0\r\nCSeq: 1\r\n\r\n", b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0\0\0\0\0"),
        (b"GET /\r\n", b"<html>HTTP/1.1 200 OK"),
        (bytes(range(256)) * 4, bytes(range(255, -1, -1)) * 4),
    )
    for question, answer in others:
        with stage.connection() as c:
            for _ in range(7):
                c.client(question)
                c.server(answer)
    stage.counted({})


def scene(play: Play, pair: Pair, host: str, port: int, stages: list[Stage], stack: ExitStack) -> Scene:
    client, server = (stack.enter_context(Cgroup(name, space)) for name, space in zip(("c", "s"), pair, strict=True))
    stage = Stage(client, server, host, port)
    play(stage)
    stages.append(stage)
    page = yield [client, server]
    assert stage.rows is not None
    assert requests(page, "server", server) == stage.rows[0]
    assert requests(page, "client", client) == stage.rows[1]
    assert requests(page, "client", server) == requests(page, "server", client) == {}


@pytest.fixture(scope="module")
def evening(request: pytest.FixtureRequest, house: House) -> Iterator[tuple[Evening, list[Stage]]]:
    stages: list[Stage] = []
    with ExitStack() as stack:
        pair = (stack.enter_context(Namespace("a")), stack.enter_context(Namespace("b")))
        stack.enter_context(veth_pair(*pair))
        scenes = {
            (name, host): partial(scene, PLAYS[str(name)], pair, str(host), FIRST_PORT + number, stages)
            for number, (name, host) in enumerate(wanted(request, "name", "host"))
        }
        played = Evening(house.running(), scenes, AT_ONCE)
        stack.callback(played.close)
        yield played, stages


@pytest.mark.parametrize("host", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("name", PLAYS)
def test_of_both_sides(evening: tuple[Evening, list[Stage]], name: str, host: str) -> None:
    evening[0].check(name, host)


def test_nothing_is_lost_but_what_each_of_them_says(evening: tuple[Evening, list[Stage]]) -> None:
    expected: Counter[str] = Counter()
    for stage in evening[1]:
        expected.update({f"http_requests/{reason}": count for reason, count in stage.lost.items()})
    assert evening[0].grown == expected


def test_requests_are_active_until_they_are_answered_or_their_socket_ends(
    agent: Agent, place: Place, pair: Pair
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    dialogue = Dialogue(client, server, V6, FIRST_PORT)
    waits, ends, pipelines = (dialogue.open() for _ in range(3))
    waits.client(GET[:20], GET[20:])
    ends.client(b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n")
    pipelines.client(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET * 12 + GET * 10)
    page = agent.settled(client, server)
    wanted = {"GET": 1 + 15, "HEAD": 1, "_OTHER": 1 + 7}  # of those beyond 16 the method is not kept
    assert active_requests(page, client, server) == {
        (cgroup.workload, side, method): count
        for cgroup, side in ((client, "client"), (server, "server"))
        for method, count in wanted.items()
    }
    waits.server(OK)
    pipelines.server(NO_CONTENT + OK * 2)
    ends.close("server")
    page = agent.settled(client, server)
    left = {"GET": 13, "_OTHER": 7}
    assert active_requests(page, server) == {(server.workload, "server", name): n for name, n in left.items()}
    for connection in (waits, pipelines):
        connection.close("client", reset=True)
    page = agent.settled(client, server)
    assert active_requests(page, client, server) == {}
    assert page.value("http_server_active_requests", workload=server.workload) == 0


def test_what_finds_no_row_is_counted_without_its_status(alone: House, place: Place, pair: Pair) -> None:
    """16 rows are the fewest there can be; both sides share them."""
    with Agent(environment={"BPFLEET_LIMITS_HTTP_ROWS": "16"}) as agent:
        client, server = place("client", pair[0]), place("server", pair[1])
        with Dialogue(client, server, V4).connection() as c:
            for status in range(200, 223):
                c.client(GET)
                c.server(b"HTTP/1.1 %d X\r\n" % status + body(0))
        page = agent.settled(client, server)
        found = [requests(page, "server", server), requests(page, "client", client)]
        assert [sum(rows.values()) for rows in found] == [23, 23]
        assert all(rows["_OTHER", "", ""] > 5 for rows in found)
        books = agent.page()
        seen, delivered, lost = (books.value(f"bpfleet_{word}_total", channel="http_requests") for word in WORDS)
        assert seen == delivered + lost
        assert delivered >= 46
        assert active_requests(page, client, server) == {}
