"""Where alerts go: what `bpfleet routes` says of the committed AlertmanagerConfig, and amtool as witness."""

import itertools
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from bpfleet.errors import BundleError
from bundle import tools
from bundle.routes import config, raw
from bundle.routes.cli import ROUTES, check
from bundle.routes.explain import muted_by, taken_by

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / config.FILE
TEMPLATES = FILE.parent / "templates"

TEAM = """\
      - receiver: shop
        matchers:
          - {name: team, matchType: "=", value: shop}
        continue: true
        routes:
          - receiver: platform-page
            matchers:
              - {name: severity, matchType: "!~", value: warn.*|info}
"""


def edited(folder: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the bundle's file in which each text that is there once stands another."""
    text = FILE.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


def routed(folder: Path, file: Path, alert: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The receivers as we say, and as amtool says."""
    read = config.read(file)
    ours = [each.receiver for each in taken_by(read.route, alert)]
    made = folder / "alertmanager.yml"
    made.write_text(raw.text(raw.translate(read, [])))
    words = [f"{name}={value}" for name, value in alert.items()]
    theirs = tools.run("amtool", "config", "routes", "test", f"--config.file={made}", *words)
    return ours, [each.removeprefix("monitoring/bpfleet/") for each in theirs.strip().split(",")]


@pytest.mark.parametrize("name", ["Watchdog", "InfoInhibitor", "AgentDown"])
@pytest.mark.parametrize("severity", ["critical", "warning", "info", "none", None])
def test_amtool_routes_every_severity_as_we_say(tmp_path: Path, name: str, severity: str | None) -> None:
    alert = {"alertname": name, "namespace": "shop"} | ({"severity": severity} if severity else {})

    ours, theirs = routed(tmp_path, FILE, alert)

    assert ours == theirs


def test_a_team_of_its_own_is_routed_before_the_severities_and_amtool_agrees(tmp_path: Path) -> None:
    before = "      - receiver: platform-page\n"
    file = edited(tmp_path, (before, TEAM + before), ('    - name: "null"\n', '    - name: "null"\n    - name: shop\n'))
    expected = {
        ("shop", "critical"): ["platform-page", "platform-page"],
        ("shop", "warning"): ["shop", "platform-ticket"],
        ("shop", "info"): ["shop", "platform-ticket"],
        ("platform", "critical"): ["platform-page"],
        ("platform", "warning"): ["platform-ticket"],
        ("platform", "info"): ["platform-ticket"],
    }

    for team, severity in itertools.product(("shop", "platform"), ("critical", "warning", "info")):
        ours, theirs = routed(tmp_path, file, {"alertname": "X", "team": team, "severity": severity})
        assert ours == expected[team, severity]
        assert sorted(set(ours)) == sorted(set(theirs))  # amtool names a receiver once


def test_every_severity_of_the_closed_set_reaches_somebody() -> None:
    read = config.read(FILE)

    for severity in config.SEVERITIES:
        (route,) = taken_by(read.route, {"alertname": "X", "severity": severity})
        assert read.receivers[route.receiver].integrations


def test_a_page_mutes_only_the_ticket_of_its_namespace_and_indicator() -> None:
    read = config.read(FILE)
    ticket = {"alertname": "SloErrorBudgetBurnTicket", "severity": "warning", "namespace": "shop", "sli": "latency"}

    first, second = muted_by(read, ticket)
    info = muted_by(read, {"alertname": "X", "severity": "info"})

    assert (first.equal, second.equal) == (("namespace", "sli"), ("namespace", "alertname"))
    assert not list(muted_by(read, {**ticket, "severity": "critical"}))
    assert len(list(info)) == 3


def test_explain_tells_receiver_grouping_times_and_who_could_mute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["alertname=SloErrorBudgetBurnTicket", "severity=warning", 'namespace="shop"', "sli=latency"]
    monkeypatch.chdir(REPOSITORY)

    assert ROUTES.main(["--file", str(config.FILE), "explain", *words]) == 0

    lines = FILE.read_text().splitlines()
    told = capsys.readouterr().out
    places = [int(each) for each in re.findall(rf"{config.FILE}:(\d+)", told)]
    assert [lines[each - 1].strip() for each in places] == ["- receiver: platform-ticket"] + ["- sourceMatch:"] * 2
    assert re.sub(rf"   {config.FILE}:\d+", "", told) == (
        'alertname="SloErrorBudgetBurnTicket" namespace="shop" severity="warning" sli="latency"\n'
        "\n"
        "1. platform-ticket\n"
        "   sends to      Discord (Secret alertmanager-discord, key ticket), also when resolved\n"
        '   grouped by    namespace="shop", alertname="SloErrorBudgetBurnTicket"\n'
        "   first told    30s after the group's first alert\n"
        "   news told     5m after the last message at the earliest\n"
        "   told again    every 12h while it fires\n"
        "\n"
        "could be muted by\n"
        '   an alert with severity="critical", sli!="" and the same namespace ("shop"), sli ("latency")\n'
        '   an alert with severity="critical" and the same namespace ("shop"), alertname ("SloErrorBudgetBurnTicket")\n'
    )


def test_the_page_about_alerts_shows_what_explain_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs/alerts.md").read_text().splitlines()
    begin = next(number for number, line in enumerate(page) if line.startswith("    bpfleet routes explain"))
    example = page[begin : begin + 12]

    assert ROUTES.main(["--file", str(FILE), *example[0].split()[2:]]) == 0

    said = [re.sub(r"   \S+:\d+$", "", line) for line in capsys.readouterr().out.splitlines()[2:]]
    assert [re.sub(r"   \S+:\d+$", "", line.removeprefix("    ")) for line in example[2:]] == said


def test_amtool_accepts_the_configuration_with_the_templates(capsys: pytest.CaptureFixture[str]) -> None:
    assert ROUTES.main(["--file", str(FILE), "check"]) == 0
    assert capsys.readouterr().out == "ok: 4 receivers, 2 files of templates\n"


def test_a_template_that_nobody_defines_is_told_by_file_and_line(tmp_path: Path) -> None:
    """Alertmanager takes it, and fails at the first message: amtool, which is asked for one, is the witness."""
    shutil.copytree(FILE.parent, tmp_path, dirs_exist_ok=True)
    file, template = tmp_path / FILE.name, tmp_path / "templates/discord.tmpl"
    file.write_text(file.read_text().replace('"bpfleet.discord.title"', '"bpfleet.discord.titel"', 1))
    template.write_text(template.read_text().replace('template "bpfleet.text"', 'template "bpfleet.txet"', 1))

    def line(path: Path, word: str) -> int:
        return path.read_text().partition(word)[0].count("\n") + 1

    with pytest.raises(BundleError) as told:
        ROUTES.main(["--file", str(file), "check"])
    assert str(told.value).splitlines() == [
        f"{file}:{line(file, '.titel')}: no template bpfleet.discord.titel; did you mean bpfleet.discord.title?",
        f"{template}:{line(template, '.txet')}: no template bpfleet.txet; did you mean bpfleet.text?",
    ]
    check(raw.text(raw.translate(config.read(file), [template])))
    word = '{{ template "bpfleet.discord.titel" . }}'
    said = tools.ask("amtool", "template", "render", f"--template.glob={template}", f"--template.text={word}")
    assert said.returncode and "bpfleet.discord.titel" in said.stdout + said.stderr


def test_amtool_refuses_what_alertmanager_would(tmp_path: Path) -> None:
    read = raw.translate(config.read(FILE), [])
    read["route"]["group_interval"] = "0s"

    with pytest.raises(BundleError, match="amtool refuses the configuration: .*group_interval cannot be zero"):
        check(raw.text(read))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("critical", r"'critical' is no label: they are written NAME=VALUE"),
        ("a-b=c", r"'a-b=c' is no label"),
        ("severity=page", r"no severity 'page': there are critical, warning, info, none"),
        ("alertname=Y", r"label alertname stands twice"),
    ],
)
def test_labels_that_are_none_are_refused(word: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        ROUTES.main(["--file", str(FILE), "explain", "alertname=X", word])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "receiver: platform-page",
            "receiver: platform-pager",
            "no receiver 'platform-pager': there are null, watchdog",
        ),
        ("value: critical}", "value: urgent}", "no severity 'urgent': there are critical, warning, info"),
        ("repeatInterval: 12h", "repeatInterval: 12 hours", "'12 hours' is no duration such as 30s, 5m, 4h"),
        ("repeatInterval: 5m", "repeatIntervall: 5m", "has no field repeatIntervall: there are receiver, groupBy"),
        ('"=~", value: warning|info', '"=~", value: "warning|(info"', "not a regular expression: warning|(info"),
        ('matchType: "!="', 'matchType: "<>"', "matchType is one of = != =~ !~, not <>"),
        ("    - name: watchdog", '    - name: "null"  # again', "receiver null stands twice"),
        ("groupBy: [alertname]", "groupBy: alertname", "spec.route.routes[0].groupBy is to be a list"),
        ("kind: AlertmanagerConfig", "kind: Alertmanager", ": one AlertmanagerConfig is to be here, not 0"),
        ("  route:", "  rout:", "spec has no field rout: there are route, inhibitRules"),
    ],
)
def test_a_broken_file_is_refused_by_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    file = edited(tmp_path, (before, after))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if after in text)
    place = f"{file}:{line}: " if "one AlertmanagerConfig" not in message else f"{file}"

    with pytest.raises(BundleError, match=re.escape(place) + ".*" + re.escape(message)):
        config.read(file)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("sendResolved: true", "sendResolvd: true", "discordConfigs with sendResolvd is not known here"),
        (
            "discordConfigs:",
            "slackConfigs:",
            "slackConfigs is not known here: there are discordConfigs, webhookConfigs",
        ),
        ("apiURL: {name: alertmanager-discord, key: page}", "apiURL: https://x", "apiURL is to be a Secret's name"),
    ],
)
def test_a_receiver_that_cannot_be_translated_is_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(BundleError, match=r"config.yaml:\d+: " + re.escape(message)):
        raw.translate(config.read(edited(tmp_path, (before, after))), [])


def rendered(folder: Path, template: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """By Alertmanager's own engine."""
    alert = {"status": "firing", "labels": labels, "annotations": annotations, "startsAt": "2026-01-02T03:04:05Z"}
    data = folder / "data.json"
    data.write_text(
        json.dumps({"status": "firing", "alerts": [alert], "commonLabels": labels, "commonAnnotations": annotations})
    )
    return tools.run(
        "amtool", "template", "render", f"--template.glob={TEMPLATES}/*.tmpl", f"--template.data={data}",
        f'--template.text={{{{ template "{template}" . }}}}',
    )  # fmt: skip


HOSTILE = "a`b` @everyone <@&1> [x](https://evil.example) **b** ||c|| # d\n> e\x1b[31m _f_ ~~g~~ \\` <t:1:R> :smile:"


def test_hostile_labels_and_annotations_are_inert_in_discord(tmp_path: Path) -> None:
    labels = {"alertname": HOSTILE, "namespace": HOSTILE, "severity": "critical", "pod": HOSTILE, "team": HOSTILE}
    annotations = {
        "summary": HOSTILE,
        "description": HOSTILE,
        "runbook_url": "https://evil.example/x) [y](javascript:1",
        "dashboard_url": "/d/x?var-namespace=a) [y](https://evil.example",
    }

    content, title, message = (
        rendered(tmp_path, f"bpfleet.discord.{part}", labels, annotations) for part in ("mentions", "title", "message")
    )

    assert content.strip() == "@here"
    assert len(title.strip().splitlines()) == 1
    for text in (title, message):
        outside = re.sub(r"`[^`]*`", "", re.sub(r"\\[^a-zA-Z0-9\s]", "", text))  # escaped marks, then code
        assert "\x1b" not in text
        # The word that the template itself says in bold is all that is left to interpret.
        assert not re.search(r"[`@<>\[\]()#|~:_*\\]", outside.replace("**firing**", "").replace("03:04:05", "")), (
            outside
        )
    assert message.replace(r"\`", "").count("`") == 2 * 3  # namespace, pod, team
    assert "Runbook" not in message and "Dashboard" not in message


def test_kustomize_names_the_templates_and_leaves_them_alone() -> None:
    made = tools.run("kubectl", "kustomize", FILE.parent)

    assert "name: alertmanager-templates\n" in made
    assert "kustomize.toolkit.fluxcd.io/substitute: disabled" in made
    assert made.count("namespace: monitoring") == 2
