"""When does a series show its value, and when may it go, so that increase() sees its first and its last event?

A series that appears with 1 has no increase in PromQL. So a new one shows 0 until every scraper has seen it once; one
whose workload ended stays until every scraper has seen its last value. Measured with six Prometheus servers, two
replicas at a time: 1.1 intervals after birth were seen 6 times of 6; 1.0 leaves no room for jitter. "0 on the first
scrape" fails with two scrapers, `_created` with a default Prometheus. A moment counted from the birth fails where the
target is discovered later: so it counts from the agent's first scrape at the earliest.
"""

from math import inf

SHOW_INTERVALS = 1.1
KEEP_INTERVALS = 2.1
"""Every scraper has seen the value, and one of them may have missed a scrape."""

UNSCRAPED_SECONDS = 300.0
"""Service discovery and a first scrape take seconds; an agent that nobody scraped for so long is not watched, and must
not keep every workload that ever ended."""


class Hold:
    """Moments are seconds of the agent's clock. interval: the scrape interval."""

    def __init__(self, interval: float, started: float) -> None:
        self.interval = interval
        self.scraped: float | None = None
        self._unscraped_until = started + UNSCRAPED_SECONDS
        self._last = (started, inf)
        self._latest = inf

    def until(self, now: float) -> float:
        """Until when a series born now shows 0; inf before the first scrape."""
        if self.scraped is None:
            return inf
        if self._last[0] != now or self._last[1] == inf:  # one float for all that is born in one batch
            self._last = (now, now + SHOW_INTERVALS * self.interval)
            self._latest = self._last[1] if self._latest == inf else max(self._latest, self._last[1])
        return self._last[1]

    def is_over(self, now: float) -> bool:
        """True when no series shows 0 any more: nobody need be asked."""
        return now >= self._latest

    def gone(self, until: float, changed: float) -> float:
        """When the series of an ended workload may go. until: the last of its holds; changed: its last growth."""
        if until == inf:
            until = self._unscraped_until
        return max(until, changed) + KEEP_INTERVALS * self.interval
