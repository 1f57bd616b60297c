"""The agent that a command asks: one that runs, or one of its own for as long as the command takes."""

import contextlib
import os
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping

from agent import child, configuration, polling, settings
from agent.configuration import Configuration
from agent.plugins.finding import Finder
from agent.polling import Server

DRAIN_SECONDS = 1.0
"""How often an agent of one's own reads its maps, for a table that looks live."""

Check = Callable[[], None]
"""Raises HostError when the agent is gone and will not come back."""

EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""An agent that listens on every address is asked on loopback."""


def add_to(parser: ArgumentParser) -> None:
    parser.add_argument("--url", help="ask the agent at this address instead of starting one")
    parser.add_argument("--ca-file", default="", help="with --url: certificates to believe instead of the system's")
    parser.add_argument("--token-file", default="", help="with --url: file of the bearer token that the agent asks for")


def named(parsed: Namespace) -> Server | None:
    """The agent at --url. Raises HostError if that is no URL."""
    if not parsed.url:
        return None
    return Server(parsed.url, lambda: polling.authority(parsed.ca_file), parsed.token_file)


def running(parsed: Namespace, environment: Mapping[str, str]) -> Server | None:
    """The agent that has the same settings as this command, if one answers. Raises SettingsError."""
    asked = settings_of(parsed, environment).settings
    host, port = asked.address
    server = own_server(address(EVERYWHERE.get(host, host), port), asked.server)
    return server if port and server.is_there() else None


@contextlib.contextmanager
def started(flags: Mapping[str, str], parsed: Namespace) -> Iterator[tuple[Server, Check]]:
    """An agent with these settings, until the `with` ends."""
    print("starting an agent on this host; its programs are being compiled ...", file=sys.stderr)
    server = own_server(flags["listen"], settings_of(parsed, os.environ).settings.server)
    words = [f"--config={parsed.config}"] if parsed.config else []
    words += [f"{configuration.flag_of(name)}={text}" for name, text in flags.items()]
    with child.Child(words) as running:
        running.wait_ready(server.ready, time.monotonic, time.sleep)
        print(f"metrics at {server.address}", file=sys.stderr)
        yield server, running.check


def agent_flags(
    parsed: Namespace,
    environment: Mapping[str, str],
    port: Callable[[], int],
    defaults: Mapping[str, str],
) -> dict[str, str]:
    """What the agent of one's own is told: the user's words, and where there are none these defaults. Wrong settings
    are refused here, before anything starts."""
    flags, given = configuration.flags_of(parsed), settings_of(parsed, environment)
    flags |= {name: text for name, text in defaults.items() if name not in given.places}
    if given.settings.sinks.jsonl.path == "-":  # its standard output is not the user's
        flags["sinks.jsonl.path"] = ""
    host, wanted = given.settings.address
    free = port() if "listen" not in given.places or not wanted else wanted
    return flags | {"listen": address(host, free)}


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def settings_of(parsed: Namespace, environment: Mapping[str, str]) -> Configuration:
    return configuration.load(parsed.config, environment, configuration.flags_of(parsed), Finder())


def own_server(address: str, asked: settings.Server) -> Server:
    """With HTTPS and the token where the settings ask for them: this agent, too, may stand where others reach it."""
    scheme = "https" if asked.certificate_file else "http"
    return Server(f"{scheme}://{address}", lambda: polling.pinned(asked.certificate_file), asked.token_file)


def leave_on_signals() -> None:
    """SIGTERM and SIGHUP end the command in order: the agent of its own, then the terminal as it was."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
