"""The bundle in a cluster: Flux reconciles this tree, from nothing to green and back."""
