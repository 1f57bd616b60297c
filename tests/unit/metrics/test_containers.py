from tests.unit.metrics.fakes import FakeOwner, owner

from agent.metrics.containers import Containers
from agent.metrics.series import Workload


def met(*owners: FakeOwner) -> list[tuple[FakeOwner, Workload[FakeOwner]]]:
    return [(each, Workload(each.labels)) for each in owners]


def test_a_container_is_one_line_with_its_node_and_image() -> None:
    containers = Containers(10, 15)
    containers.refresh(met(owner("web")), now=0)
    assert containers.texts() == [
        'namespace="shop",pod="web-7d9f8b6c5d-x2x4z",container="main",workload="web",workload_kind="Deployment",'
        'node="node-1",image="registry/app:1"'
    ]


def test_a_new_image_takes_the_place_of_the_old_one_at_once() -> None:
    """Two lines with the same identity would break every join."""
    containers = Containers(10, 15)
    containers.refresh(met(owner("web", image="app:1")), now=0)
    containers.refresh(met(owner("web", "restarted", image="app:2")), now=5)
    (text,) = containers.texts()
    assert text.endswith('image="app:2"')


def test_that_of_an_ended_container_goes_with_its_last_counts() -> None:
    containers = Containers(10, 15)
    containers.refresh(met(owner("web")), now=0)
    containers.refresh([], now=31)
    assert len(containers) == 1
    containers.refresh([], now=32)
    assert len(containers) == 0


def test_there_are_never_more_than_the_limit() -> None:
    containers = Containers(3, 15)
    containers.refresh(met(*(owner(f"web-{number}") for number in range(9))), now=0)
    assert len(containers) == 3
