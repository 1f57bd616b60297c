"""Who has most of what all of them share? So that, when it is full, whoever floods it makes room for the others.

A step costs the same for any number of keys: they are kept by how many they have.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Shares(Generic[Key]):
    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self._having: dict[int, dict[Key, None]] = {}
        self._most = 0

    def add(self, key: Key, count: int = 1) -> None:
        """count: less than 0 for what is given back."""
        before = self._counts.pop(key, 0)
        after = before + count
        if before:
            del self._having[before][key]
            if not self._having[before]:
                del self._having[before]
        if after:
            self._counts[key] = after
            self._having.setdefault(after, {})[key] = None
        self._most = max(self._most, after)
        while self._most and self._most not in self._having:
            self._most -= 1

    def greedier(self, key: Key) -> Key | None:
        """Who has so much more than this one that one of its own is better given to it; None where nobody has."""
        if self._most <= self._counts.get(key, 0) + 1:
            return None
        return next(iter(self._having[self._most]))
