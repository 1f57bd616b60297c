"""Values of the wrong shape, anywhere in any object: told by a schema, never met with an exception."""

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.support import trees

from bundle.flux import clusters, validating

ODD: tuple[Any, ...] = (None, 3, "x", [], {}, [1], ["a"], {"a": 1}, True)

DEEPEST = 5
"""Steps into an object: what checks look at is no deeper."""

SEED = 7


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if way:
        yield way
    if len(way) == DEEPEST:
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from ways(each, (*way, key))


def test_no_shape_is_an_exception() -> None:
    dice = random.Random(SEED)
    objects = [each for each in trees.rendered("operator").all() if each["kind"] not in ("ConfigMap", "PrometheusRule")]
    objects += [each.value for each in clusters.load(trees.ROOT, "kind").own]
    objects += [each for each in trees.rendered("kind").all() if each["kind"] == "HelmRelease"]
    tried = 0
    for value in objects:
        for way in ways(value):
            broken = json.loads(json.dumps(value))
            place = broken
            for key in way[:-1]:
                place = place[key]
            place[way[-1]] = dice.choice(ODD)
            complaints = list(validating.wrong(broken))
            assert all(message for _, message in complaints)
            tried += 1

    assert tried > 1000
