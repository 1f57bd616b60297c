import gzip
import shutil
import subprocess

import pytest
from tests.unit.metrics.fakes import families, openmetrics
from tests.unit.metrics.test_exposition import busy
from tests.unit.metrics.test_health import healthy

from agent.metrics.exposition import Form
from agent.metrics.health import Books, CollectorState, Report, Runs, Table
from agent.metrics.page import Page


@pytest.fixture
def page() -> Page:
    """A page with something of everything."""
    bench = busy()
    health = healthy(bench)
    health.observe(
        Report(
            collectors={"traffic": CollectorState(True, ("cgroup_skb/ingress",)), "tcp": CollectorState(False)},
            books={"packets": Books(23, 19, {"map_full": 4})},
            tables={"flows": Table(19, 32768, 4 << 20)},
            programs={"on_ingress": Runs(2048, 2, 1400)},
        )
    )
    return Page(bench.totals, health.registry())


def test_both_parts_are_one_page_in_text(page: Page) -> None:
    names = [family.name for family in families(page.render(Form.TEXT).decode())]
    assert {"bpfleet_network_io_bytes", "bpfleet_collector_up", "process_cpu_seconds"} <= set(names)
    assert len(names) == len(set(names))


def test_both_parts_are_one_page_in_openmetrics(page: Page) -> None:
    text = page.render(Form.OPENMETRICS).decode()
    names = [family.name for family in openmetrics(text)]
    assert {"bpfleet_network_io_bytes", "bpfleet_collector_up", "process_cpu_seconds"} <= set(names)
    assert text.count("# EOF") == 1


@pytest.mark.parametrize("form", Form)
def test_the_compressed_page_is_the_same_page(page: Page, form: Form) -> None:
    def of_workloads(text: bytes) -> list[bytes]:
        return [line for line in text.splitlines() if b"process_" not in line]

    assert of_workloads(gzip.decompress(page.render(form, compress=True))) == of_workloads(page.render(form))


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian package prometheus) is not installed")
def test_promtool_accepts_the_page(page: Page) -> None:
    checked = subprocess.run(["promtool", "check", "metrics"], input=page.render(Form.TEXT), capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
