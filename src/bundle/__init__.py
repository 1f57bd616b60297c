"""Generators and checks of the tree that Flux reconciles: clusters/, infrastructure/, policies/, apps/."""
