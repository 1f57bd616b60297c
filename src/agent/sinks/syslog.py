"""Events as syslog messages for a SIEM: RFC 5424 with structured data, counted in octets (RFC 6587 section 3.4.1) over
TCP, or over TLS (RFC 5425).

Syslog has no answer. What counts as delivered has been acknowledged by the other side's kernel; what was sent on a
connection that broke before that is lost as `unanswered` and not sent again, so that no event arrives twice.
"""

import fcntl
import json
import re
import select
import socket
import ssl
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit

from agent.sinks import calling, options, severities, trust
from agent.sinks.facilities import FACILITIES
from bpfleet.api import Batch, Retry, Sink, Unavailable, Written
from bpfleet.events import Attribute, Record
from bpfleet.times import rfc3339

PORTS = {"tcp": 514, "tls": 6514}
APPLICATION = "bpfleet"
NIL = "-"
HOST_LENGTH, NAME_LENGTH = 255, 32
"""Of HOSTNAME; of MSGID and of a parameter's name."""

MICROSECONDS = len("2026-11-21T17:34:25.123456")
"""TIMESTAMP has no more digits; all nanoseconds are in the parameter `time`."""

SHORTER = (256, 64, 16)
"""Characters that values are cut to, one after the other, until a message is no longer than allowed."""

CUT = "bpfleet.cut"
POLL_MS = (1, 2, 5, 10, 20, 50)
"""Between two looks at what is not acknowledged yet."""

BATCH_BYTES = 256 << 10
PLAIN = re.compile(r"[ !#-\[^-~]*").fullmatch
"""What needs no escaping."""

REMEMBERED = 1024
"""Names that are kept as they are sent: there are some dozens."""

CHUNK = 64
"""Messages that are sent at once: where the connection breaks, those after them are offered again."""

GOODBYE_SECONDS = 0.5


def build(given: options.Options) -> Sink:
    address = urlsplit(options.text(given, "address"))
    made = Syslog(
        address.hostname or "",
        address.port or PORTS[address.scheme],
        trust.follow(Syslog.name, given, address.scheme == "tls"),
        FACILITIES.index(options.text(given, "facility")),
        options.text(given, "structured_data_id"),
        options.whole(given, "max_bytes"),
        options.seconds(given, "timeout_seconds"),
    )
    made.retry = Retry(give_up_seconds=options.seconds(given, "retry_seconds"))
    return made


class Syslog(Sink):
    """seconds: for a batch, from connecting to its acknowledgement. clock: monotonic seconds."""

    name = "syslog"
    batch = Batch(size_bytes=BATCH_BYTES)

    def __init__(
        self,
        host: str,
        port: int,
        trust: Callable[[], trust.Trust],
        facility: int,
        structured_data_id: str,
        max_bytes: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._port, self._trust = host, port, trust
        self._facility, self._id, self._max_bytes = facility, structured_data_id, max_bytes
        self._seconds, self._clock = seconds, clock
        self._socket: socket.socket | None = None
        self._shown: object = None
        self._writing = threading.Lock()

    def encode(self, record: Record) -> bytes:
        """With its length before it."""
        message = self._message(record, sys.maxsize)
        for characters in SHORTER:
            if len(message) <= self._max_bytes:
                break
            message = self._message(record, characters)
        if len(message) > self._max_bytes:
            raise ValueError(f"a message of {len(message)} bytes, where {self._max_bytes} are allowed")
        return b"%d %s" % (len(message), message)

    def write(self, items: Sequence[bytes]) -> Written:
        with self._writing:
            return self._write(items, calling.deadline(self._seconds, self._clock))

    def _write(self, items: Sequence[bytes], left: calling.Deadline) -> Written:
        try:
            connection = self._connected(left)
        except OSError as error:
            self._hang_up()
            raise Unavailable(f"{self._host}:{self._port}: {error}") from error
        sent = 0
        try:
            for chunk in chunks(items):
                sent += len(chunk)
                connection.settimeout(left())
                connection.sendall(b"".join(chunk))
            acknowledged(connection, left)
        except OSError as error:
            self._hang_up()
            return Written(0, unanswered=sent, why=str(error))
        return Written(sent)

    def close(self) -> None:
        """Says goodbye where TLS has a word for it (RFC 5425 section 4.4), unless a write is still under way."""
        if self._writing.acquire(blocking=False):
            if isinstance(self._socket, ssl.SSLSocket):
                with suppress(OSError, ValueError):
                    self._socket.settimeout(GOODBYE_SECONDS)
                    self._socket.unwrap()
            self._writing.release()
        self._hang_up()

    def _hang_up(self) -> None:
        calling.hang_up(self._socket)
        self._socket = None

    def _connected(self, left: calling.Deadline) -> socket.socket:
        shown = self._trust()
        if self._socket and (shown is not self._shown or calling.is_closed(self._socket)):
            self._hang_up()
        if not self._socket:
            self._socket = calling.connect(self._host, self._port, shown.context, left)
            self._shown = shown
        return self._socket

    # RFC 5424 section 6

    def _message(self, record: Record, characters: int) -> bytes:
        priority = 8 * self._facility + severities.of(record).priority
        stamp = rfc3339(record.time_ns)
        host = printable(record.resource.get("k8s.node.name", ""), HOST_LENGTH)
        name = printable(record.name, NAME_LENGTH)
        header = f"<{priority}>1 {stamp[:MICROSECONDS]}Z {host} {APPLICATION} {NIL} {name}"
        told = {"time": stamp, "event.name": record.name}
        values = {**record.attributes, **record.resource, **told}
        return f"{header} [{self._id}{parameters(values, characters)}] {name}".encode()


def parameters(values: Mapping[str, Attribute], characters: int) -> str:
    """Each name and value; CUT names those that were made shorter."""
    parts: list[str] = []
    cut: list[str] = []
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if len(text) > characters:
            cut.append(name)
            text = text[:characters]
        parts.append(f' {parameter_name(name)}="{escaped(text)}"')
    if cut:
        parts.append(f' {CUT}="{escaped(",".join(cut))}"')
    return "".join(parts)


@lru_cache(REMEMBERED)
def parameter_name(name: str) -> str:
    """What SD-NAME does not allow is shown as `_`."""
    return printable(name, NAME_LENGTH).translate(NOT_IN_NAMES)


NOT_IN_NAMES = str.maketrans('="]', "___")


@lru_cache(REMEMBERED)
def printable(text: str, length: int) -> str:
    """PRINTUSASCII; `-` where nothing is left."""
    return "".join(each if "!" <= each <= "~" else "_" for each in text[:length]) or NIL


def escaped(text: str) -> str:
    """A PARAM-VALUE. Before the escaping of RFC 5424 section 6.3.3 the text is written as JSON writes it: so a value
    has no control character, whatever shows it, and still comes back as it was: its reader takes a SIEM's value for the
    inside of a JSON string."""
    if PLAIN(text):
        return text
    inside = "".join(each if is_harmless(each) else json.dumps(each)[1:-1] for each in text)
    return inside.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def is_harmless(character: str) -> bool:
    """A quotation mark is, inside a syslog value: its own escape is added later."""
    return character == '"' or character != "\\" and character.isprintable()


# On a connection


def chunks(items: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def acknowledged(connection: socket.socket, left: calling.Deadline) -> None:
    """Waits until the other side's kernel has everything. Raises OSError where the connection ends before or nothing
    happens in time."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    waits = iter(POLL_MS)
    wait = 0
    while unacknowledged(connection):
        left()
        wait = next(waits, wait)
        poll.poll(wait)
        if calling.is_closed(connection):
            break
    if calling.is_closed(connection):
        raise ConnectionError("the connection ended before all was acknowledged")


def unacknowledged(connection: socket.socket) -> int:
    """Bytes (SIOCOUTQ, tcp(7))."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
