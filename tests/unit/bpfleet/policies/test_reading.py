import re
from pathlib import Path

import pytest

from bpfleet.errors import PolicyError
from bpfleet.policies import cases, fields, reading
from bpfleet.policies.reading import MAX_NODES, MAX_PROBLEMS, MAX_RULES, MAX_VALUES

GOOD = """\
version: 1
name: shells
scope: {namespaces: [shop, "!shop-test"], labels: {app: web}}
rules:
  - name: shell
    event: exec
    severity: critical
    match: {binary: [sh, bash], is_entered: true}
"""


def refused(tmp_path: Path, text: str) -> list[str]:
    """The problems, without the directory."""
    file = tmp_path / "p.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError) as told:
        reading.read([file])
    return [line.removeprefix(f"{tmp_path}/") for line in str(told.value).splitlines()]


def with_rule(**fields: str) -> str:
    given = {"name": "r", "event": "exec", "severity": "info", "match": "{binary: sh}"} | fields
    told = "\n    ".join(f"{key.rstrip('_')}: {value}" for key, value in given.items() if value)
    return f"version: 1\nname: p\nrules:\n  - {told}\n"


def test_a_good_policy_is_read_with_its_places(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    (policy,) = reading.read([tmp_path])
    (rule,) = policy.rules
    assert (policy.name, rule.name, rule.event, rule.severity) == ("shells", "shell", "exec", "critical")
    assert rule.place == f"{tmp_path}/p.yaml:5"
    assert rule.match[0].place == f"{tmp_path}/p.yaml:8"
    assert rule.match[0].fields == {"binary", "is_entered"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace("version: 1\n", ""), "p.yaml:1: version is missing; allowed: 1"),
        (GOOD.replace("version: 1", "version: 2"), "p.yaml:1: version is 2; allowed: 1"),
        (
            GOOD.replace("name: shells", "name: Shells!"),
            "p.yaml:2: the name of the policy is 'Shells!'; allowed: lower",
        ),
        (
            GOOD.replace("scope:", "scoop:"),
            "p.yaml:3: a policy has no 'scoop'; did you mean scope?; allowed here: version",
        ),
        (GOOD.replace("namespaces:", "namespace:"), "p.yaml:3: scope has no 'namespace'; did you mean namespaces?"),
        (
            GOOD.replace("severity: critical", "severity: high"),
            "p.yaml:7: severity is 'high'; allowed: critical, warning, info",
        ),
        (
            GOOD.replace("event: exec", "event: execve"),
            "p.yaml:6: event is 'execve'; did you mean exec?; allowed: exec, file_open",
        ),
        (
            GOOD.replace("binary:", "binery:"),
            "p.yaml:8: an event exec has no 'binery'; did you mean binary?; allowed here: binary",
        ),
        (
            GOOD.replace("is_entered: true", "path: /tmp"),
            "p.yaml:8: an event exec has no 'path'; it is one of file_open, chmod",
        ),
        (
            GOOD.replace("is_entered: true", "is_entered: maybe"),
            "p.yaml:8: is_entered must be true or false: 'maybe' is neither",
        ),
        (
            GOOD.replace("[sh, bash]", "[sh, bin/bash]"),
            "p.yaml:8: binary must be an absolute path, or a name without a slash",
        ),
        (GOOD.replace("[sh, bash]", "[]"), "p.yaml:8: binary is an empty list, which nothing matches"),
        (
            with_rule(match="{}"),
            "p.yaml:7: an empty mapping matches everything; if that is meant, write match: everything",
        ),
        (with_rule(match="all"), "p.yaml:7: 'all' is no mapping of fields, or the word everything; there are binary"),
        (with_rule(match=""), "p.yaml:4: a rule with neither match nor allow"),
        (with_rule(allow="[]"), "p.yaml:4: a rule with both match and allow"),
        (with_rule(name="", event="exec"), "p.yaml:4: the name of the rule is missing; allowed: lower-case"),
        (
            with_rule(event="egress", match="{address: 10.0.0.1/8}"),
            "p.yaml:7: address must be an address, or a network as "
            "ADDRESS/BITS: '10.0.0.1/8' is no network: 10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?",
        ),
        (with_rule(event="egress", match="{address: 10.0.0.0/33}"), "'10.0.0.0/33' is no network"),
        (
            with_rule(event="egress", match='{address: "::ffff:10.0.0.0/104"}'),
            "is IPv4 written as IPv6; write it as IPv4",
        ),
        (
            with_rule(event="egress", match="{name: 198.51.100.7}"),
            "198.51.100.7 is an address; write address: [198.51.100.7]",
        ),
        (with_rule(event="egress", match='{name: "*.example"}'), "'*.example' is no name"),
        (with_rule(event="egress", match="{port: 65536}"), "port must be a whole number from 0 to 65535, or a range"),
        (with_rule(event="egress", match="{port: 9-8}"), "'9-8' is out of range"),
        (with_rule(event="egress", match="{service: db}"), "service must be NAMESPACE/NAME"),
        (
            with_rule(event="egress", match="{transport: sctp}"),
            "transport must be one of tcp, udp: 'sctp' is not one of them",
        ),
        (with_rule(event="chmod", match="{mode: 4755}"), "mode must be octal digits in quotes"),
        (with_rule(event="chmod", match='{mode: "4999"}'), "'4999' has other characters"),
        (with_rule(match="{user: root}"), "user must be a whole number from 0"),
        (with_rule(except_="[5]"), "p.yaml:8: 5 is no mapping of fields; there are binary"),
        ("version: 1\nname: p\nrules: []\n", "p.yaml:3: rules must be a list of rules, one at least"),
        ("version: 1\nname: p\nrules: [5]\n", "p.yaml:3: a rule must be a mapping with these keys: name"),
        ("[]\n- x", "p.yaml:2: not valid YAML"),
        ("version: 1\nversion: 1\n", "p.yaml:2: not valid YAML: version stands twice"),
        ("5\n", "p.yaml:1: a policy must be a mapping with these keys: version"),
        (with_rule(match="{binary: *.sh}"), "p.yaml:7: not valid YAML"),
    ],
)
def test_each_mistake_names_file_line_and_what_is_allowed(tmp_path: Path, text: str, problem: str) -> None:
    problems = refused(tmp_path, text)
    assert any(problem in each for each in problems), problems
    assert all(each.startswith("p.yaml:") for each in problems)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    problems = refused(
        tmp_path, GOOD.replace("exec", "execve").replace("critical", "high").replace("version: 1", "v: 1")
    )
    assert len(problems) == 4  # v, version, severity, event


def test_names_that_stand_twice_are_refused(tmp_path: Path) -> None:
    rule = GOOD[GOOD.index("  - name") :]
    assert refused(tmp_path, GOOD + rule) == ["p.yaml:9: there is a rule shell already, in line 5"]
    assert refused(tmp_path, GOOD + "---\n" + GOOD) == [
        f"p.yaml:11: there is a policy shells already: {tmp_path}/p.yaml:2"
    ]


def test_more_than_is_allowed_is_refused(tmp_path: Path) -> None:
    many = f"{{binary: [{', '.join(f'a{number}' for number in range(MAX_VALUES + 1))}]}}"
    assert refused(tmp_path, with_rule(match=many)) == [
        f"p.yaml:7: binary has {MAX_VALUES + 1} values; {MAX_VALUES} are allowed"
    ]
    rules = "".join(
        f"  - {{name: r{n}, event: exec, severity: info, match: everything}}\n" for n in range(MAX_RULES + 1)
    )
    with pytest.raises(PolicyError, match=f"{MAX_RULES + 1} rules; {MAX_RULES} are allowed"):
        (tmp_path / "p.yaml").write_text(f"version: 1\nname: p\nrules:\n{rules}")
        reading.read([tmp_path])
    bad = "".join(f"  - {{name: r{n}, event: exec, severity: x, match: everything}}\n" for n in range(MAX_PROBLEMS + 7))
    problems = refused(tmp_path, f"version: 1\nname: p\nrules:\n{bad}")
    assert len(problems) == MAX_PROBLEMS + 1 and problems[-1] == "p.yaml: 7 more"


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="nowhere: No such file or directory"):
        reading.read([tmp_path / "nowhere"])
    with pytest.raises(PolicyError, match="x: File name too long"):
        reading.read([tmp_path / ("x" * 300)])
    (tmp_path / "p.yaml").write_bytes(b"name: \xff")
    with pytest.raises(PolicyError, match="p.yaml:1: not UTF-8"):
        reading.read([tmp_path])
    (tmp_path / "p.yaml").write_bytes(b"#" * (reading.MAX_BYTES + 1))
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(PolicyError, match=f"larger than {reading.MAX_BYTES} bytes"):
            reading.read([path])
    (tmp_path / "p.yaml").write_bytes(GOOD.replace("\n", "\r\n").encode() + b"#" * 1000)
    assert [policy.place for policy in reading.read([tmp_path])] == [f"{tmp_path}/p.yaml:2"]


def bomb(levels: int) -> str:
    """Lists within lists: the last one has 2 ** levels elements."""
    return "".join(f"a{n}: &a{n} [{f'*a{n - 1}, *a{n - 1}' if n else 'x, x'}]\n" for n in range(levels))


@pytest.mark.parametrize(
    "place", ["match: {binary: *a59}", "match: *a59", "severity: *a59", "description: *a59", "allow: [*a59]"]
)
def test_lists_without_end_cost_no_more_than_their_first_mistake(tmp_path: Path, place: str) -> None:
    rule = f"version: 1\nname: p\nrules:\n  - name: r\n    event: exec\n    {place}\n"
    assert refused(tmp_path, bomb(60) + rule) == [
        f"p.yaml:1: more than {MAX_NODES} values, with its aliases written out"
    ]
    assert refused(tmp_path, "a: &a [*a]\n" + rule.replace("*a59", "x")) == [
        f"p.yaml:1: more than {MAX_NODES} values, with its aliases written out"
    ]


@pytest.mark.parametrize("number", ["9" * 10_000, "0x" + "f" * 50_000, "!!int x", "1e999999", ".nan"])
def test_numbers_that_python_cannot_print_are_told(tmp_path: Path, number: str) -> None:
    for text in (with_rule(match=f"{{user: {number}}}"), with_rule(severity=number), f"version: {number}\n"):
        assert all(each.startswith("p.yaml:") and len(each) < 500 for each in refused(tmp_path, text))


X = "$$"
"""Where something strange stands."""

STRANGE = (
    *(
        "5",
        "-1",
        "1.5",
        ".inf",
        "1e9",
        "null",
        "~",
        "true",
        "''",
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "{a: b}",
        "{[a]: b}",
        "*x",
    ),
    *("2026-01-01", "0x1", "1:2", "'\\0'", '"\\0"', "!!binary aGk=", "!!binary '@'", "!!set {a, b}", "!!set [a]"),
    *("!!omap [a: 1]", "!!omap {a: 1}", "!!pairs [a: 1]", "!!map [a]", "!!seq {a: b}", "!!str [a]", "!!int []"),
    *("!!int ''", "!!float ''", "!!float x", "!!bool maybe", "!!null x", "!!timestamp x", "!!python/name:os.system ''"),
    *(
        "&y [*y]",
        "&y {<<: *y}",
        "{<<: 5}",
        "? [a]\n: b",
        "|",
        ">-\n x",
        "%",
        "@",
        "`",
        "'",
        '"',
        "\t",
        "0.0.0.0/0",
        "::/0",
    ),
    *("a" * 600, "'" + "é" * 600 + "'", "\u202e"),
)


PLACES = (
    *(f"version: {X}\nname: p\nrules: []\n", f"name: {X}\n", f"{X}\n", f"{X}: y\n", f"{GOOD}tests: {X}\n"),
    *(f"version: 1\nname: p\nscope: {X}\nrules: [{X}]\n", f"version: 1\nname: p\nscope: {{labels: {X}}}\nrules: {X}\n"),
    *(
        f"{GOOD}    except: {X}\n",
        f"{GOOD}    description: {X}\n",
        f"{GOOD}    {X}: y\n",
        f"{GOOD}    except: {{user: {X}}}\n",
    ),
    f"{GOOD}tests: [{X}, {{event: {X}}}, {{event: exec, given: {X}, owner: {X}, fires: {X}}}]\n",
    f"{GOOD}tests: [{{event: exec, given: {{binary: {X}}}, owner: {{labels: {X}}}, fires: [{X}]}}]\n",
)


@pytest.mark.parametrize("text", PLACES)
def test_whatever_stands_wherever_is_good_or_a_mistake_with_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yaml"
    for strange in STRANGE:
        file.write_text(text.replace(X, strange), "utf-8")
        try:
            cases.read_file(file)
        except PolicyError as error:
            assert all(re.match(rf"{file}:[0-9]+: .", line) for line in str(error).splitlines()), (strange, str(error))


def test_a_directory_is_read_in_the_order_of_its_files_and_kustomize_is_left_alone(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(GOOD.replace("shells", name))
    (tmp_path / "kustomization.yaml").write_text("resources: []")
    (tmp_path / "README.md").write_text("text")
    (tmp_path / ".a.yaml.swp.yaml").write_text("half a file: [")
    (tmp_path / "alerts.yaml").write_text("apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.yaml").write_text("5")
    assert [policy.name for policy in reading.read([tmp_path])] == ["a", "b"]


def test_every_event_has_fields_and_each_says_what_is_allowed() -> None:
    for event, known in fields.BY_EVENT.items():
        assert {"binary", "parent", "ancestor", "user", "image"} < known.keys(), event
        assert all(field.help and field.kind.allowed for field in known.values())
