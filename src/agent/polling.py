"""An agent's pages over HTTP."""

import urllib.error
import urllib.request
from urllib.parse import urlsplit

from bpfleet.errors import HostError

FETCH_SECONDS = 5.0
MAX_PAGE_BYTES = 256 * 1024 * 1024
"""Ten times the page of an agent at its default series limit."""


class Server:
    """url: with or without the path of the page. Raises HostError if it is none."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HostError(f"--url must be http://HOST:PORT or https://HOST:PORT, not {ascii(url)}")
        self._base = f"{parts.scheme}://{parts.netloc}"
        self.address = self._base + (parts.path.rstrip("/") or "/metrics")
        # Prometheus sees a new series at 0 first; a person wants its value at once.
        self._page = f"{self.address}?view=live"
        # No proxy: an agent listens on this machine or in this cluster.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def page(self) -> str:
        """Raises HostError."""
        return self._get(self._page)

    def ready(self) -> bool:
        try:
            self._get(f"{self._base}/readyz")
        except HostError:
            return False
        return True

    def _get(self, url: str) -> str:
        try:
            with self._opener.open(url, timeout=FETCH_SECONDS) as reply:
                body: bytes = reply.read(MAX_PAGE_BYTES + 1)
        except urllib.error.HTTPError as error:
            error.close()
            raise HostError(f"{url}: {error.code} {error.reason}") from error
        except (OSError, ValueError) as error:
            raise HostError(f"{url}: {getattr(error, 'reason', error)}") from error
        if len(body) > MAX_PAGE_BYTES:
            raise HostError(f"{url}: the page is larger than {MAX_PAGE_BYTES} bytes")
        return body.decode("utf-8", "replace")
