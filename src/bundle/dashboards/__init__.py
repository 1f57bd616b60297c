"""Grafana dashboards: built from Python, checked against the catalogue."""
