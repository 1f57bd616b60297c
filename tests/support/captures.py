"""tcpdump as a witness: how many packets on an interface match a filter?"""

import re
import signal
import subprocess
import time

from tests.support.cgroups import await_line
from tests.support.namespaces import Namespace

SETTLE_SECONDS = 0.1
"""tcpdump reads its ring in blocks."""


class Capture:
    """For the time of a `with`; packets() afterwards. Raises AssertionError if the kernel dropped some."""

    def __init__(self, namespace: Namespace, device: str, rule: str) -> None:
        argv = ["tcpdump", "--immediate-mode", "-i", device, "-n", "-w", "/dev/null", rule]
        self.process = subprocess.Popen(
            namespace.command(argv), pass_fds=(namespace.fd,), stderr=subprocess.PIPE, text=True
        )
        self.said = ""

    def __enter__(self) -> "Capture":
        await_line(self.process.stderr, "listening on")
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(SETTLE_SECONDS)
        self.process.send_signal(signal.SIGINT)
        _, self.said = self.process.communicate()

    def packets(self) -> int:
        counts = {
            name: int(count) for count, name in re.findall(r"(\d+) packets? (captured|dropped by kernel)", self.said)
        }
        assert counts["dropped by kernel"] == 0
        return counts["captured"]
