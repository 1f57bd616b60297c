"""Values that are wrong are refused by Helm, with their name; and what makes the chart's own pages."""

import pytest
from tests.support import charts
from tests.support.charts import CHART, ROOT

from agent import chart as schema
from bpfleet.generated import Page
from bundle import tools
from bundle.chart import plain, readme


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    charts.needed()


def refused(*values: str) -> str:
    """What Helm says of values in JSON."""
    said = tools.ask("helm", "template", "x", CHART, *(f"--set-json={value}" for value in values))
    assert said.returncode, f"{values} is taken"
    return said.stderr


@pytest.mark.parametrize(
    ("value", "name", "what"),
    [
        ("settings.limits.flws=1", "/settings/limits", "'flws' not allowed"),
        ("settings.sink={}", "/settings", "'sink' not allowed"),
        ("settings.limits.flows=3", "/settings/limits/flows", "got 3, want 16"),
        ('settings.limits.flows="32768"', "/settings/limits/flows", "got string, want integer"),
        ("settings.requests.log=false", "/settings/requests/log", "got boolean, want string"),
        ('settings.log_level="loud"', "/settings/log_level", "value must be one of"),
        ('settings.collectors=["TCP"]', "/settings/collectors/0", "does not match pattern"),
        ("settings=null", "''", "missing property 'settings'"),
        ("settings.limits=null", "/settings", "missing property 'limits'"),
        ("probes=null", "''", "missing property 'probes'"),
        ("server.tls.secretName=null", "/server/tls", "missing property 'secretName'"),
        ("podMonitr={}", "''", "'podMonitr' not allowed"),
        ('image.digest="sha256:1234"', "/image/digest", "does not match pattern"),
        ('image.pullPolicy="Sometimes"', "/image/pullPolicy", "value must be one of"),
        ("capabilities.sysAdmin=true", "/capabilities", "'sysAdmin' not allowed"),
        ('profile="everything"', "/profile", "minimal"),
        ("privileged=true", "''", "'privileged' not allowed"),
        ("port=70000", "/port", "got 70,000, want 65,535"),
        ('cgroupRoot="sys"', "/cgroupRoot", "does not match pattern"),
        ("updateStrategy.maxUnavailable=0", "/updateStrategy/maxUnavailable", "got 0, want 1"),
        ("podMonitor.ownSeries=10", "/podMonitor/ownSeries", "got 10, want 6,000"),
        ('server.tls.secretname="x"', "/server/tls", "'secretname' not allowed"),
        ('sinks.syslog.token="x"', "/sinks/syslog", "'token' not allowed"),
        ('image.registry="https://ghcr.io"', "/image/registry", "does not match pattern"),
        ('image.registry="ghcr.io/"', "/image/registry", "does not match pattern"),
        ('image.repository="/agent"', "/image/repository", "does not match pattern"),
        ('listenAddress="127.0.0.1"', "/listenAddress", "'not' failed"),
        ('resources.limits.memory="lots"', "/resources/limits/memory", "does not match pattern"),
        ('podLabels={"app.kubernetes.io/name":"x"}', "/podLabels/app.kubernetes.io~1name", "false schema"),
        ('podMonitor.labels={"helm.sh/chart":"x"}', "/podMonitor/labels/helm.sh~1chart", "false schema"),
        ('podAnnotations={"checksum/settings":"x"}', "/podAnnotations/checksum~1settings", "false schema"),
        ('headerCache.type="disk"', "/headerCache/type", "value must be one of"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(value: str, name: str, what: str) -> None:
    said = refused(value)
    assert name in said and what in said, said


@pytest.mark.parametrize(
    "value",
    [
        'image.registry=""',
        'image.registry="[fd00::1]:5000/mirror/a.b_c"',
        'image.registry="localhost:5000"',
        'listenAddress="[::]"',
        'resources={"requests":{"cpu":1,"memory":"1.5Gi"},"limits":{"example.com/nic":"2"}}',
        'podLabels={"team":"a"}',
    ],
)
def test_what_is_sound_is_taken(value: str) -> None:
    tools.run("helm", "template", "x", CHART, f"--set-json={value}")


@pytest.mark.parametrize("name", schema.OWNED)
def test_what_other_values_decide_is_no_setting_of_the_charts(name: str) -> None:
    section, _, last = f"settings.{name}".rpartition(".")
    value = "{}" if name == "server" else '"x"'
    said = refused(f"{section}.{last}={value}")
    assert f"at '/{section.replace('.', '/')}': additional properties '{last}' not allowed" in said


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["serviceMonitor.enabled=true"], "every agent would be scraped twice"),
        (
            ["serviceMonitor.enabled=true", "podMonitor.enabled=false", "service.enabled=false"],
            "serviceMonitor.enabled needs service.enabled",
        ),
        (['settings.sinks.otlp.endpoint="http://logs:4318"'], "settings.sinks.otlp.endpoint is given, and the Network"),
        (['settings.sinks.syslog.address="tcp://logs"'], "settings.sinks.syslog.address is given, and the NetworkPol"),
        (['sinks.otlp.secretName="a"'], "sinks.otlp.secretName is given and none of its keys"),
        (['server.tls.secretName="a"', 'server.tls.ca="ca.crt"'], "server.tls.serverName is empty"),
    ],
)
def test_values_that_cannot_be_together_are_refused_with_their_names(values: list[str], what: str) -> None:
    assert what in refused(*values)


# Pages


@pytest.mark.parametrize("page", [schema.PAGE, readme.PAGE, plain.PAGE], ids=lambda page: page.module)
def test_a_made_file_is_what_its_source_says(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert page.is_current(), f"run `python -m {page.module}`"


def test_every_value_is_in_the_readme_with_its_default() -> None:
    page = (CHART / "README.md").read_text("utf-8")
    for section, value in charts.defaults().items():
        assert f"| `{section}" in page
        for name in value if isinstance(value, dict) else ():
            assert f"| `{section}.{name}" in page
