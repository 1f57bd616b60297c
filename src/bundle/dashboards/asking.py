"""Forms of PromQL that boards share, so that an error ratio is the same on each of them."""

WINDOW = "[$__rate_interval]"

SERVED = "http_server_request_duration_seconds"
CALLED = "http_client_request_duration_seconds"

WANTED = 'reason!~"policy|no_sink|no_request|unwatched|unmatched|folded|suppressed"'
"""Of bpfleet_lost_total: without what is left aside because somebody wants it so, or that came before the agent. The
alert BpfleetLosingEvents says the same."""


def by(*labels: str) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def rate(metric: str, selector: str, *labels: str) -> str:
    """Events a second, by labels."""
    return f"sum{by(*labels)} (rate({metric}{{{selector}}}{WINDOW}))"


def share(part: str, whole: str) -> str:
    """Part of the whole, 0 where there is no part, nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def errors(metric: str, selector: str, *labels: str) -> str:
    """Share of requests with an error: 5xx or no answer; for the client 4xx, too."""
    return share(
        rate(f"{metric}_count", f'{selector},error_type!=""', *labels), rate(f"{metric}_count", selector, *labels)
    )


def quantile(q: float, metric: str, selector: str, *labels: str) -> str:
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', selector, 'le', *labels)})"


def mean(summary: str, selector: str, *labels: str) -> str:
    """Of what a summary or histogram observed."""
    return f"{rate(f'{summary}_sum', selector, *labels)} / ({rate(f'{summary}_count', selector, *labels)} > 0)"


def resent(prefix: str, selector: str, *labels: str) -> str:
    """Segments sent again, of those sent."""
    again = rate(f"{prefix}_retransmissions_total", selector, *labels)
    sent = rate(f"{prefix}_segments_total", f'{selector},direction="transmit"', *labels)
    return share(again, sent)


def top(count: int, expression: str) -> str:
    return f"topk({count}, {expression})"
