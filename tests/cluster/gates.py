"""A gate before a TCP server that opens, shuts and holds back: a server that is away or hangs."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit

CHUNK_BYTES = 64 << 10


class Gate:
    """url: what to use instead of the server's. Starts open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.connections = 0
        self._target = (self.host, parts.port or 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._flowing = threading.Event()
        self._refusing = False
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> "Gate":
        self._flowing.set()
        self._acceptor.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shut()
        _end(self._listener)
        self._acceptor.join()

    def open(self) -> None:
        self._refusing = False
        self._flowing.set()

    def shut(self) -> None:
        """Ends all connections and refuses new ones."""
        self._refusing = True
        self._flowing.set()
        for each in list(self._sockets):
            _end(each)

    def hold(self) -> None:
        """Lets nothing through any more, and says nothing."""
        self._flowing.clear()

    def _accept(self) -> None:
        with self._listener, contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                if self._refusing:
                    client.close()
                else:
                    threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            self._sockets |= {client, server}
            there = threading.Thread(target=self._copy, args=(client, server), daemon=True)
            there.start()
            self._copy(server, client)
            there.join()
            self._sockets -= {client, server}

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flowing.wait()
                sink.sendall(data)
        _end(source)
        _end(sink)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
