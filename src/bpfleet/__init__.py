"""bpfleet: what the agent, the bundle and plugin authors share."""

__version__ = "0.1.0"
