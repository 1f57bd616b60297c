"""Collectors and sinks that users bring, and our own, by the same ways: found, checked, made, held to their word."""
