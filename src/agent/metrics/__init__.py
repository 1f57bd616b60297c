"""Samples in, the metrics page out: totals, expiry and the series budget, and the text that Prometheus reads."""
