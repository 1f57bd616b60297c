import errno
import json
from pathlib import Path

import pytest
from tests.unit.sinks.test_appending import room_for

from agent.sinks.file import File, cut_torn_line
from bpfleet.events import Record

LINE = b"%099d\n"


def lines(first: int, last: int) -> list[bytes]:
    return [LINE % number for number in range(first, last)]


def write(sink: File, items: list[bytes]) -> None:
    """As the queue does it: what is not through is offered again."""
    while items:
        through = sink.write(items)
        assert through
        items = items[through:]


def files(path: Path) -> list[Path]:
    """The oldest first."""
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda each: -int(each.suffix[1:]))
    return [*older, path]


def kept(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in files(path))


def test_files_are_of_bounded_size_and_hold_every_line_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = File(str(path), max_bytes=10_000, files=100)
    for start in range(0, 2_307, 37):
        write(sink, lines(start, min(2_307, start + 37)))
    sink.close()
    assert kept(path) == b"".join(lines(0, 2_307))
    assert [each.stat().st_size for each in files(path)] == [10_000] * 23 + [700]


def test_only_so_many_older_files_are_kept_and_they_are_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = File(str(path), max_bytes=10_000, files=2)
    write(sink, lines(0, 1_050))
    sink.close()
    assert [each.name for each in files(path)] == ["events.jsonl.2", "events.jsonl.1", "events.jsonl"]
    assert kept(path) == b"".join(lines(800, 1_050))


def test_another_agent_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for start in range(0, 700, 70):
        sink = File(str(path), max_bytes=10_000, files=9)
        write(sink, lines(start, start + 70))
        sink.close()
    assert kept(path) == b"".join(lines(0, 700))
    assert len(files(path)) == 7


def test_a_line_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = File(str(path), max_bytes=10_000, files=9)
    long = b"x" * 25_000 + b"\n"
    write(sink, [*lines(0, 3), long, *lines(3, 6)])
    sink.close()
    assert [each.read_bytes() for each in files(path)] == [b"".join(lines(0, 3)), long, b"".join(lines(3, 6))]


def test_a_file_that_logrotate_moves_is_left_with_whole_lines_and_the_next_one_begins(tmp_path: Path) -> None:
    path, moved = tmp_path / "events.jsonl", tmp_path / "moved"
    sink = File(str(path), max_bytes=1_000_000, files=2)
    write(sink, lines(0, 50))
    path.rename(moved)
    write(sink, lines(50, 70))
    path.unlink()
    write(sink, lines(70, 90))
    with path.open("r+") as file:  # copytruncate
        file.truncate(0)
    write(sink, lines(90, 95))
    sink.close()
    assert moved.read_bytes() == b"".join(lines(0, 50))
    assert path.read_bytes() == b"".join(lines(90, 95))


def test_a_file_that_logrotate_replaces_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = File(str(path), max_bytes=1_000_000, files=2)
    write(sink, lines(0, 5))
    path.rename(tmp_path / "moved")
    path.touch(0o600)
    write(sink, lines(5, 7))
    sink.close()
    assert path.read_bytes() == b"".join(lines(5, 7))
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_older_file_that_somebody_took_away_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = File(str(path), max_bytes=10_000, files=3)
    write(sink, lines(0, 250))
    (tmp_path / "events.jsonl.1").unlink()
    write(sink, lines(250, 450))
    sink.close()
    assert kept(path) == b"".join([*lines(0, 100), *lines(200, 450)])


def test_where_the_disk_is_full_no_line_is_torn_and_later_ones_go_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = File(str(path), max_bytes=1_000_000, files=3)
    with room_for(1_050):
        assert sink.write(lines(0, 30)) == 10
        with pytest.raises(OSError) as caught:
            sink.write(lines(10, 30))
    assert caught.value.errno == errno.EFBIG
    write(sink, lines(30, 33))
    sink.close()
    assert path.read_bytes() == b"".join([*lines(0, 10), *lines(30, 33)])


def test_a_folder_that_is_not_there_is_refused_until_it_is(tmp_path: Path) -> None:
    path = tmp_path / "later" / "events.jsonl"
    sink = File(str(path), max_bytes=10_000, files=3)
    with pytest.raises(FileNotFoundError):
        sink.write(lines(0, 1))
    path.parent.mkdir()
    write(sink, lines(1, 2))
    sink.close()
    assert path.read_bytes() == LINE % 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"whole\n", b"whole\n"),
        (b"whole\ntorn", b"whole\n"),
        (b"torn", b""),
        (b"x" * (1 << 20) + b"\ntorn", b"x" * (1 << 20) + b"\n"),
        (b"\n" + b"x" * (3 << 20), b"\n" + b"x" * (3 << 20)),
    ],
)
def test_what_a_lost_machine_left_behind_the_last_line_is_cut(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(before)
    cut_torn_line(str(path))
    assert path.read_bytes() == after


def test_a_line_is_a_json_object(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = File(str(path), max_bytes=10_000, files=1)
    sink.write([sink.encode(Record("test.happened", 0, {"k8s.pod.name": "web"}, {"count": 23}))])
    sink.close()
    assert json.loads(path.read_text())["count"] == 23
    assert path.stat().st_mode & 0o007 == 0
