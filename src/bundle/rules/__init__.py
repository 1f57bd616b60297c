"""Recording and alerting rules: read, linted, unit-tested."""
