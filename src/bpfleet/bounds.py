"""Histogram bounds that more than the agent reads: objectives for latency must lie on one of them."""

REQUEST_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025),
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
"""OpenTelemetry's bounds for HTTP, which begin at 5 ms, and some below them."""
