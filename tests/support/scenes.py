"""Scenes: tests that first do something and then look at what the agent says of it.

A scene is a generator: it plays, yields the workloads whose numbers it wants, and goes on with the settled page. Many
are played one after the other under one agent, which then has to settle only once; each is still a test of its own.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.pages import Page
from tests.support.requests import active_requests

Scene = Generator[list[Cgroup], Page, None]
Key = tuple[object, ...]


def wanted(request: pytest.FixtureRequest, *names: str) -> list[Key]:
    """The values of these parameters of the tests of this module that are to run, each once."""
    found = {
        tuple(item.callspec.params[name] for name in names): None
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == request.path
        and hasattr(item, "callspec")
        and set(names) <= set(item.callspec.params)
    }
    return list(found)


class Evening:
    """Plays scenes. at_once: how many. grown: losses meanwhile, by channel and reason."""

    def __init__(self, agent: Agent, scenes: Mapping[Key, Callable[[ExitStack], Scene]], at_once: int = 1) -> None:
        self.stack = ExitStack()
        self.failed: dict[Key, Exception] = {}
        self.scenes: dict[Key, tuple[Scene, list[Cgroup]]] = {}
        agent.drained()
        before = agent.lost()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(self._play, scenes.items()))
        self.page = agent.settled(*(cgroup for _, cgroups in self.scenes.values() for cgroup in cgroups))
        now = agent.lost()
        self.grown = {name: int(now[name] - before.get(name, 0)) for name in now if now[name] != before.get(name)}

    def _play(self, item: tuple[Key, Callable[[ExitStack], Scene]]) -> None:
        key, scene = item
        try:
            begun = scene(self.stack)
            self.scenes[key] = (begun, next(begun))
        except Exception as error:
            self.failed[key] = error

    def check(self, *key: object) -> None:
        """The rest of this scene. Whoever has ended has left no request open."""
        if key in self.failed:
            raise self.failed[key]
        scene, cgroups = self.scenes[key]
        for _ in _resumed(scene, self.page):
            raise AssertionError("a scene has two parts")
        assert active_requests(self.page, *cgroups) == {}

    def close(self) -> None:
        self.stack.close()


def _resumed(scene: Scene, page: Page) -> Iterable[Any]:
    try:
        yield scene.send(page)
    except StopIteration:
        return
