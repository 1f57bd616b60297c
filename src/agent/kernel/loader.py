"""The short-lived child: compiles, loads, attaches, hands over the descriptors and leaves. The only `import bcc`, and
only where a text was not kept from an earlier start.

A script of its own, started by the distribution's Python as `python3 -I loader.py SOCKET PARENT`, so that the agent
never maps a compiler (149 MiB against 13) and its environment never sees the distribution's packages. It decides
nothing: it answers commands (child.py is the other end), each a frame of JSON with its length of four bytes before it.
It dies with its parent, and with it everything that was not handed over.
"""

import ctypes
import importlib.util
import json
import os
import resource
import signal
import socket
import struct
import sys
import types
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # The files beside this one as the package that they are in, and nothing else of the agent's environment.
    here = Path(__file__).resolve().parent
    for name, places in (("agent", []), ("agent.kernel", [str(here)])):
        package = types.ModuleType(name)
        package.__path__ = places
        sys.modules[name] = package

from agent.kernel.attaching import Attaching  # noqa: E402  the package is made above
from agent.kernel.compiling import Compiling  # noqa: E402
from agent.kernel.failure import Failure  # noqa: E402
from agent.kernel.units import Units  # noqa: E402

PR_SET_PDEATHSIG = 1
MAX_DESCRIPTORS = 200
"""Of one message; the kernel takes 253 (SCM_MAX_FD)."""

NO_BCC = "{} has no BCC ({}); Debian and Ubuntu: apt install python3-bpfcc"

Answer = dict[str, Any]


class Loader:
    """One unit at a time: compiled, loaded, attached, handed over."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._attaching = Attaching(units)

    def answer(self, request: dict[str, Any]) -> Answer:
        """{"error": text, ...} where the thing asked for does not work."""
        try:
            return self._obey(request.pop("do"), request)
        except Failure as failure:
            return failure.answer

    def _obey(self, command: str, arguments: dict[str, Any]) -> Answer:
        units, attaching = self._units, self._attaching
        if command == "headers":
            return units.choose_headers(**arguments)
        if command == "enumerations":
            return {"enumerations": units.enumerations(**arguments)}
        if command == "compile":
            attaching.release()
            return {"maps": units.compile(**arguments)}
        if command == "load":
            return self._load(**arguments)
        if command == "used":
            return units.used()
        if command == "attach":
            return attaching.attach(**arguments)
        return attaching.walk(**arguments)

    def _load(self, function: str, hook: str) -> Answer:
        """{"stale": True} beside the error asks for another compile of the text."""
        try:
            return self._attaching.load(function, hook)
        except Failure as failure:
            if "log" in failure.answer and self._units.refuse(function):
                return {**failure.answer, "stale": True}
            raise

    def hand_over(self, channel: socket.socket) -> None:
        """The maps in the order in which `compile` named them, then the links, then the programs on tracepoints; what
        the unit keeps here is closed by the next one, or goes with this process: so does a map that only functions use
        that were not needed."""
        used, links = self._attaching.maps(), self._attaching.links
        maps = [row for row in self._units.maps() if row["fd"] in used]
        linked = {f"link:{function}": link for function, link in links.items()}
        programs = {f"program:{function}": program for function, program in self._attaching.tracing().items()}
        names = [*(f"map:{row['name']}" for row in maps), *linked, *programs]
        descriptors = [*(row["fd"] for row in maps), *linked.values(), *programs.values()]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        send(channel, {"names": names, "peak_rss_bytes": peak})
        for start in range(0, len(descriptors), MAX_DESCRIPTORS):
            socket.send_fds(channel, [b"F"], descriptors[start : start + MAX_DESCRIPTORS])

    def close(self) -> None:
        self._units.close()


def receive(channel: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises EOFError when the parent is gone or done."""
    data = b""
    while len(data) < size:
        part = channel.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def send(channel: socket.socket, answer: Answer) -> None:
    data = json.dumps(answer).encode()
    channel.sendall(struct.pack("=I", len(data)) + data)


def serve(channel: socket.socket, loader: Loader) -> None:
    try:
        while True:
            (size,) = struct.unpack("=I", receive(channel, 4))
            request = json.loads(receive(channel, size))
            if request["do"] == "hand_over":
                loader.hand_over(channel)
            else:
                send(channel, loader.answer(request))
    except EOFError:
        loader.close()


def compiler() -> Any:
    """BCC, of 70 MiB before it compiles anything. Raises Failure."""
    try:
        import bcc
    except (ImportError, OSError) as error:
        raise Failure(NO_BCC.format(sys.executable, error), of="host") from error
    return bcc


def main() -> None:
    channel, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew of the wish
        os._exit(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and systemd's stop go to both: the parent decides
        signal.signal(number, signal.SIG_IGN)
    try:
        # Before 5.11 maps count against this limit; without the right to raise it the kernel says so itself.
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        pass
    if importlib.util.find_spec("bcc") is None:
        send(channel, {"error": NO_BCC.format(sys.executable, "No module named 'bcc'")})
        os._exit(1)
    send(channel, {"python": sys.version.split()[0]})
    serve(channel, Loader(Units(Compiling(compiler))))
    os._exit(0)  # BCC's exit handler would take apart what the parent now holds


if __name__ == "__main__":
    main()
