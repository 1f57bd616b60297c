"""An agent's pages over HTTP or HTTPS."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from agent import credentials
from bpfleet.errors import HostError, SettingsError

FETCH_SECONDS = 5.0
MAX_PAGE_BYTES = 256 * 1024 * 1024
"""Ten times the page of an agent at its default series limit."""


class Server:
    """url: with or without the path of the page. trust: whom to believe over HTTPS; token_file: what to present, both
    read anew for each page, since the agent follows its files too. Raises HostError if it is no URL."""

    def __init__(
        self, url: str, trust: Callable[[], ssl.SSLContext] = ssl.create_default_context, token_file: str = ""
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HostError(f"--url must be http://HOST:PORT or https://HOST:PORT, not {ascii(url)}")
        self._base = f"{parts.scheme}://{parts.netloc}"
        self.address = self._base + (parts.path.rstrip("/") or "/metrics")
        # Prometheus sees a new series at 0 first; a person wants its value at once.
        self._page = f"{self.address}?view=live"
        self._trust, self._token_file = trust, token_file

    def page(self) -> str:
        """Raises HostError."""
        return self._get(self._page)

    def requests(self, after: int) -> str:
        """What the request log has since the request of that number. Raises HostError."""
        return self._get(f"{self._base}/requests?after={after}")

    def status(self) -> str:
        """Raises HostError."""
        return self._get(f"{self._base}/status")

    def ready(self) -> bool:
        try:
            self._get(f"{self._base}/readyz")
        except HostError:
            return False
        return True

    def is_there(self) -> bool:
        """Whether somebody answers, if only that it is not ready."""
        try:
            self._get(f"{self._base}/readyz")
        except HostError as error:
            return isinstance(error.__cause__, urllib.error.HTTPError)
        return True

    def _get(self, url: str) -> str:
        # No proxy: an agent listens on this machine or in this cluster.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        request = urllib.request.Request(url)
        try:
            if request.type == "https":
                handlers.append(urllib.request.HTTPSHandler(context=self._trust()))
            if self._token_file:  # not for another server that this one may name
                token = credentials.token(Path(self._token_file)).decode()
                request.add_unredirected_header("Authorization", f"Bearer {token}")
            with urllib.request.build_opener(*handlers).open(request, timeout=FETCH_SECONDS) as reply:
                body: bytes = reply.read(MAX_PAGE_BYTES + 1)
        except urllib.error.HTTPError as error:
            error.close()
            raise HostError(f"{url}: {error.code} {error.reason}") from error
        except (OSError, ValueError, SettingsError) as error:
            raise HostError(f"{url}: {getattr(error, 'reason', error)}") from error
        if len(body) > MAX_PAGE_BYTES:
            raise HostError(f"{url}: the page is larger than {MAX_PAGE_BYTES} bytes")
        return body.decode("utf-8", "replace")


def authority(file: str) -> ssl.SSLContext:
    """Believes whom the certificates of a file have signed, or else the system's. Raises OSError."""
    return ssl.create_default_context(cafile=file or None)


def pinned(file: str) -> ssl.SSLContext:
    """Believes whoever has the key of this very certificate, under whatever name: for an agent of one's own. Raises
    OSError."""
    context = ssl.create_default_context(cafile=file)
    context.check_hostname = False
    context.verify_flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context
