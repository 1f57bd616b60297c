"""`bpfleet ready`: does the agent count that these settings start? For health checks that run a command in its place.

Kubernetes asks /readyz itself; Docker's HEALTHCHECK and scripts have this, so that an image needs no HTTP client.
"""

import http.client
import os
import ssl
from collections.abc import Mapping, Sequence

from agent import configuration
from agent.plugins.finding import Finder
from bpfleet.errors import HostError

PURPOSE = "Ask the agent of this machine whether it counts: exit code 0 if so, else 1 and why not."
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""An agent that listens on every address is asked on loopback."""

ANSWER_SECONDS = 4.0
"""Docker's check gets 5 s, and a reason is better than a time-out."""

MAX_REASON_BYTES = 1000


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Raises SettingsError, and HostError with the reason where nothing is counted."""
    parsed = configuration.Parser("bpfleet ready", PURPOSE).parse_args(arguments)
    settings = configuration.load(parsed.config, environment, configuration.flags_of(parsed), Finder()).settings
    ask(*settings.address, tls=bool(settings.server.certificate_file))
    print("ready")
    return 0


def ask(host: str, port: int, tls: bool = False) -> None:
    """Raises HostError."""
    host = EVERYWHERE.get(host, host)
    if tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=ANSWER_SECONDS, context=_anybody()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        said = answer.read(MAX_REASON_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise HostError(f"no agent answers on {host} port {port}: {error}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise HostError(f"not ready: {ascii(said)[1:-1]}")


def _anybody() -> ssl.SSLContext:
    """Nothing secret is said, and the agent may rightly go on with the certificate that was in the file before."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
