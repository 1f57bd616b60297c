"""HTTPS in front of a server that speaks plain HTTP on a Unix socket: takes the TLS off and passes the bytes on.

asyncio shakes hands and sends on one thread that waits for nobody, like waitress behind it: with eight clients that
connect and say nothing, or eight that do not read, a probe has its answer in 6 ms. Measured beside what an agent
imports anyway, in MiB with and without TLS: waitress 4.9 (with this before it) and 2.6; tornado, which has TLS itself,
8.0 and 7.0; uvicorn 10.2 and 9.3; hypercorn 11.5 with it. They do not limit how many connections there are and for how
long an answer may hang, so each would need code around it, too. cheroot let silent clients hold everybody for 40 s. In
the whole agent TLS takes 3.2 MiB, and nothing where it is not set.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
"""A scraper shakes hands in milliseconds and gives up after 10 s; who takes longer only holds a place."""

CLOSE_SECONDS = 2.0
"""For the thread when the agent stops."""

CHUNK_BYTES = 1 << 16
PAUSE_SECONDS = 1.0
"""Before the next connection is taken, where that failed: most likely no descriptors are left."""


class Front:
    """Serves on a thread of its own from the moment it is made until close().

    listener: a bound TCP socket, which this closes. backend: address of the plain server's Unix socket. context: asked
    for each connection, so that a new certificate is shown at once. connections: at most, handshakes among them; the
    others wait in the kernel. idle_seconds: a client that takes none of its answer for so long is cut off."""

    def __init__(
        self,
        listener: socket.socket,
        backend: str,
        context: Callable[[], ssl.SSLContext],
        connections: int,
        idle_seconds: float,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._listener, self._backend, self._context = listener, backend, context
        self._connections, self._idle_seconds = connections, idle_seconds
        self._handshake_seconds = handshake_seconds
        listener.setblocking(False)
        listener.listen(connections)
        self._loop = asyncio.new_event_loop()
        self._accepting = self._loop.create_task(self._accept())
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Lets go of the port; connections are cut off."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._accepting.cancel)
        self._thread.join(timeout=CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._accepting)
        except asyncio.CancelledError:
            pass
        finally:
            self._listener.close()
            self._loop.close()

    async def _accept(self) -> None:
        room = asyncio.Semaphore(self._connections)
        served: set[asyncio.Task[None]] = set()
        try:
            while True:
                await room.acquire()
                try:
                    client, _ = await self._loop.sock_accept(self._listener)
                except OSError as error:
                    log.warning("a connection could not be taken: %s", error.strerror)
                    await asyncio.sleep(PAUSE_SECONDS)
                    room.release()
                    continue
                task = self._loop.create_task(self._serve(client))
                served.add(task)
                task.add_done_callback(served.discard)
                task.add_done_callback(lambda _: room.release())
        finally:
            for task in served:
                task.cancel()
            await asyncio.gather(*served, return_exceptions=True)

    async def _serve(self, client: socket.socket) -> None:
        """One connection. What a client does wrong is no news: somebody who scans ports would fill the log."""
        try:
            reader = asyncio.StreamReader(CHUNK_BYTES, self._loop)
            protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol,
                client,
                ssl=self._context(),
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=self._idle_seconds,
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        except (OSError, TimeoutError) as error:
            log.debug("no TLS with a client: %s", error)
            client.close()
            return
        try:
            await self._relay(reader, writer)
        except (OSError, TimeoutError) as error:
            log.debug("a client went away: %s", error)
        finally:
            transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one side is done."""
        answers, questions = await asyncio.open_unix_connection(self._backend)
        ways = [
            self._loop.create_task(self._pass(reader, questions)),
            self._loop.create_task(self._pass(answers, writer)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
            writer.close()
            async with asyncio.timeout(self._idle_seconds):
                await writer.wait_closed()
        finally:
            for way in ways:
                way.cancel()
            questions.close()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK_BYTES):
            target.write(data)
            async with asyncio.timeout(self._idle_seconds):
                await target.drain()
