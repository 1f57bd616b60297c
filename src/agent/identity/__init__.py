"""Whose is it? A cgroup id becomes container, pod and workload; an address becomes a peer. `resolver` is the door."""
