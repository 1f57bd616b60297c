import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from agent import cli as agent_cli
from agent.collectors import BUILT_IN
from bpfleet import __version__
from bpfleet.cli import GROUP, Command, main
from bpfleet.errors import HostError, SettingsError


def say(words: object) -> int:
    print(words)
    return 7


def refuse(_: object) -> int:
    raise SettingsError("a.yaml:1: wrong\na.yaml:2: wrong too")


def fail(_: object) -> int:
    raise HostError("port 9436 is in use")


def interrupt(_: object) -> int:
    raise KeyboardInterrupt


SAY = Command("Say something.", say)
REFUSE = Command("Refuse.", refuse)
FAIL = Command("Fail.", fail)
INTERRUPT = Command("Be interrupted.", interrupt)


def points(**commands: str) -> dict[str, EntryPoint]:
    return {name: EntryPoint(name, value, GROUP) for name, value in commands.items()}


COMMANDS = points(
    say=f"{__name__}:SAY",
    refuse=f"{__name__}:REFUSE",
    fail=f"{__name__}:FAIL",
    interrupt=f"{__name__}:INTERRUPT",
    absent="no_such_package.cli:COMMAND",
)


def test_a_command_gets_the_words_after_its_name_and_decides_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["say", "a", "--b"], COMMANDS) == 7
    assert capsys.readouterr().out == "['a', '--b']\n"


def test_without_a_command_the_list_is_printed_and_it_counts_as_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], COMMANDS) == 2
    assert "say          Say something." in capsys.readouterr().err


def test_help_lists_every_command_and_says_which_cannot_be_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], COMMANDS) == 0
    out = capsys.readouterr().out
    assert "fail         Fail." in out
    assert "absent       (cannot be loaded: No module named 'no_such_package')" in out


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"], COMMANDS) == 0
    assert capsys.readouterr().out == f"bpfleet {__version__}\n"


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sya"], COMMANDS) == 2
    assert capsys.readouterr().err == "bpfleet: no command 'sya'; did you mean say?\n"


def test_a_command_whose_packages_are_missing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["absent"], COMMANDS) == 1
    assert "absent needs a package that is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("refuse", 2, "bpfleet: a.yaml:1: wrong\nbpfleet: a.yaml:2: wrong too\n"),
        ("fail", 1, "bpfleet: port 9436 is in use\n"),
        ("interrupt", 130, ""),
    ],
)
def test_an_error_is_a_message_and_an_exit_code(
    name: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name], COMMANDS) == code
    assert capsys.readouterr().err == told


LIST = (sys.executable, "-c", "from bpfleet.cli import main; raise SystemExit(main(['collectors']))")


def test_a_full_disk_is_a_message_and_an_exit_code() -> None:
    with open("/dev/full", "w") as full:
        told = subprocess.run(LIST, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (told.returncode, told.stderr) == (1, "bpfleet: standard output: No space left on device\n")


def test_a_reader_that_is_gone_is_an_exit_code() -> None:
    with subprocess.Popen(("true",), stdin=subprocess.PIPE) as reader:
        reader.wait()
        told = subprocess.run(LIST, stdout=reader.stdin, stderr=subprocess.PIPE, text=True)
    assert (told.returncode, told.stderr) == (1, "")


def test_a_standard_output_that_is_closed_gets_nothing_and_lends_its_number_to_nobody() -> None:
    looks = "import os; from bpfleet.cli import main; main(['--version']); print(os.readlink('/proc/self/fd/1')); "
    looks += "os.write(2, os.readlink('/proc/self/fd/1').encode())"
    told = subprocess.run(("sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", looks), capture_output=True)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"/dev/null")


def test_the_agents_commands_are_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("AGENT", "TOP", "SOCKETS", "DOCTOR", "CONFIG", "COLLECTORS"):
        assert getattr(agent_cli, name).help in out


def test_config_show_prints_what_is_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent_cli.CONFIG.main(["show", "--limits-flows", "64"]) == 0
    assert "flows: 64  # flag --limits-flows" in capsys.readouterr().out


def test_config_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent_cli.CONFIG.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["additionalProperties"] is False


def test_config_check_finds_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent_cli.CONFIG.main(["check", "--collectors", "-tcp"]) == 0
    assert capsys.readouterr().out.startswith("ok: 1 settings given, collectors ")
    with pytest.raises(SettingsError, match="there is no collector 'nonsense'"):
        agent_cli.CONFIG.main(["check", "--collectors", "nonsense"])


def test_collectors_tells_every_collectors_hooks_and_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent_cli.COLLECTORS.main([]) == 0
    out = capsys.readouterr().out
    for collector in BUILT_IN:
        assert f"{collector.name} (" in out
        for metric in collector.metrics:
            assert metric.family in out
        for event in collector.event_names:
            assert event in out
        for choice in collector.probes:
            for probe in agent_cli.alternatives(choice):
                assert probe.hook in out
    assert "    hooks         raw_tracepoint/kfree_skb, iter/task\n" in out  # three programs for one hook
