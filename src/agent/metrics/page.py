"""The whole /metrics page: the workloads' series in our own fast text, then the agent's own health."""

import zlib
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from agent.metrics import exposition
from agent.metrics.accumulate import Accumulator
from agent.metrics.exposition import Form
from agent.metrics.identities import OwnerT

LEVEL = 1
"""Of gzip: level 6 takes three times the CPU for two thirds of the size (bench/scrape.py)."""

GZIP_FORMAT = 31
"""zlib's number for a gzip header around 32 KiB windows."""

HEALTH: dict[Form, Callable[[CollectorRegistry], bytes]] = {
    Form.TEXT: generate_latest,
    Form.OPENMETRICS: openmetrics.generate_latest,  # ends in "# EOF", so it comes last
}


class Page:
    def __init__(self, accumulator: Accumulator[OwnerT], registry: CollectorRegistry) -> None:
        self._view, self._registry = accumulator.view, registry

    def render(self, form: Form, compress: bool = False, live: bool = False) -> bytes:
        """live: true values at once (see Accumulator.view)."""
        compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP_FORMAT) if compress else None
        pieces = []
        for piece in self._pieces(form, live):
            pieces.append(compressor.compress(piece) if compressor else piece)
        if compressor:
            pieces.append(compressor.flush())
        return b"".join(pieces)

    def _pieces(self, form: Form, live: bool) -> Iterator[bytes]:
        with self._view(live) as view:
            for text in exposition.lines(view, form):
                yield text.encode()
        yield HEALTH[form](self._registry)
