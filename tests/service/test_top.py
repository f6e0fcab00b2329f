"""top, show --watch and show --details of the real daemon, with packets, on a real terminal.

eth2 is outside, at the other end of eth1.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import PROGRAMS, Daemon
from lab.netns import Namespace
from lab.packets import Run, Sender
from lab.terminal import Terminal

ROUTES = """\
[[route]]
source = "10.1.0.10"
group = "239.8.1.1"
iif = "eth1"
oifs = ["eth3", "eth4"]
comment = "the lobby"
[[route]]
source = "10.1.0.10"
group = "239.8.1.2"
iif = "eth1"
oifs = ["eth3"]
[[route]]
group = "239.8.2.0/24"
iif = "eth1"
oifs = ["eth4"]
"""
STREAMS = [("10.1.0.10", "239.8.1.1"), ("10.1.0.10", "239.8.1.2"), ("10.1.0.11", "239.8.2.2")]


@pytest.fixture
def senders(network: Namespace) -> Iterator[list[Sender]]:
    run = Run(socket.AF_INET)
    with ExitStack() as stack:
        yield [
            stack.enter_context(closing(Sender(run, network, "eth2", *stream)))
            for stream in STREAMS
        ]


@pytest.fixture
def filled(cli: CLI) -> CLI:
    cli.apply(ROUTES)
    return cli


def terminal(cli: CLI, *words: str, width: int = 80, height: int = 24) -> Terminal:
    command = [str(PROGRAMS / "mfc-dbus-cli"), *words]
    return Terminal(command, cli.environment, width, height)


def groups(lines: Sequence[str]) -> list[str]:
    return [line.split()[1] for line in lines if line.startswith(("10.1.0.", "*"))]


def test_a_person_sorts_filters_and_quits(filled: CLI, senders: list[Sender]) -> None:
    with ExitStack() as stack:
        for sender, rate in zip(senders, (50, 200, 100), strict=True):
            stack.enter_context(sender.flow(rate))
        top = stack.enter_context(terminal(filled, "top", "--interval", "0.3"))
        by_rate = ["239.8.1.2", "239.8.2.2", "239.8.1.1"]
        lines = top.until(lambda lines: groups(lines) == by_rate)
        assert "by rate" in lines[0]
        assert lines[0].startswith("3 streams, ")
        assert (
            " ".join(lines[2].split()) == "SOURCE GROUP IIF OIFS PACK/S BIT/S IDLE PACKETS COMMENT"
        )
        assert lines[-1].startswith("r rate  p packets")
        top.type("g")
        by_group = ["239.8.1.1", "239.8.1.2", "239.8.2.2"]
        top.until(lambda lines: "by group" in lines[0] and groups(lines) == by_group)
        top.type("/8.1.")
        top.until(lambda lines: groups(lines) == by_group[:2] and lines[1] == "filter: 8.1._")
        top.type("\x7f\x7f.2.2")
        top.until(lambda lines: lines[1] == "filter: 8..2.2_" and not groups(lines))
        top.type("\x1b")
        top.until(lambda lines: groups(lines) == by_group)
        top.type("/239.8.2.0/24\n")
        top.until(lambda lines: lines[1] == "filter: 239.8.2.0/24" and len(groups(lines)) == 1)
        top.type("q")
        assert top.end() == 0
        assert top.settings == top.before


def test_the_screen_follows_the_size_of_the_terminal(filled: CLI, senders: list[Sender]) -> None:
    senders[2].send(2)
    with terminal(filled, "top") as top:
        top.until(lambda lines: len(groups(lines)) == 3)
        top.resize(100, 6)
        top.until(lambda lines: len(groups(lines)) == 2 and lines[5].startswith("r rate"))
        first = groups(top.lines)
        top.type("\x1b[B\x1b[B")
        top.until(lambda lines: len(groups(lines)) == 2 and groups(lines) != first)
        top.resize(80, 30)
        top.until(lambda lines: len(groups(lines)) == 3 and lines[29].startswith("r rate"))
        top.process.send_signal(signal.SIGTERM)
        assert top.end() == 0
        assert top.settings == top.before


def test_ctrl_c_ends_it_and_leaves_the_terminal_as_it_was(filled: CLI) -> None:
    with terminal(filled, "top") as top:
        top.until(groups)
        os.killpg(top.process.pid, signal.SIGINT)
        assert top.end() == 0
        assert top.settings == top.before


def test_enter_explains_a_stream_and_escape_leads_back(filled: CLI, senders: list[Sender]) -> None:
    with senders[1].flow(100), terminal(filled, "top", "--interval", "0.3") as top:
        top.until(lambda lines: groups(lines)[:1] == ["239.8.1.2"] and "flow: 0 " not in lines[0])
        top.type("\n")
        top.until(lambda lines: lines[0] == "(10.1.0.10, 239.8.1.2) from eth1")
        lines = top.until(lambda lines: lines[2].startswith(("ok: ", "problem: ")))
        assert not groups(lines)
        assert lines[-1] == "escape back  q quit"
        top.type("\x1b")
        top.until(groups)
        top.type("q")
        assert top.end() == 0


def test_it_goes_on_over_a_restart_of_the_service(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path
) -> None:
    cli = CLI(own_bus.address)
    with ExitStack() as stack:
        with Daemon(own_bus.address, own_network, home=tmp_path):
            assert cli("mfc", "add", "-g", "239.8.1.1", "-i", "eth1", "-o", "eth2").returncode == 0
            top = stack.enter_context(terminal(cli, "top", "--interval", "0.1"))
            watch = stack.enter_context(terminal(cli, "show", "-w", "--interval", "0.1"))
            top.until(lambda lines: groups(lines) == ["239.8.1.1"])
            watch.until(lambda lines: groups(lines) == ["239.8.1.1"])
        for each in (top, watch):
            each.until(lambda lines: any("is not running" in line for line in lines))
        with Daemon(own_bus.address, own_network, home=tmp_path):
            for each in (top, watch):
                each.until(
                    lambda lines: (
                        groups(lines) == ["239.8.1.1"]
                        and not any("is not running" in line for line in lines)
                    )
                )


def test_without_a_terminal_it_is_refused_with_a_hint(cli: CLI) -> None:
    done = cli("top")
    assert done.returncode == 2
    assert "top needs a terminal: --once or --json" in done.stderr
    for words in (["--state", "active"], ["lobby"], ["--sort", "speed"]):
        assert cli("top", *words).returncode == 2


def test_a_terminal_without_a_screen_is_told_of(cli: CLI) -> None:
    command = [str(PROGRAMS / "mfc-dbus-cli"), "top"]
    with Terminal(command, cli.environment, kind="nonsense") as top:
        top.until(lambda lines: lines[0].startswith("mfc-dbus-cli: This terminal has no screen"))
        assert top.end() == 1


def test_programs_have_it_once_or_line_by_line(filled: CLI, senders: list[Sender]) -> None:
    senders[2].send(3)
    lines = filled("top", "--once", "--sort", "group").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["GROUP", *(group for _, group in STREAMS)]
    once = filled.json("top", "--once", "239.8.1.2")
    assert [each["group"] for each in once] == ["239.8.1.2"]
    assert once[0]["packets_per_second"] is not None
    with filled.start("--json", "top", "--interval", "0.1", "--oif", "eth4") as top:
        for _ in range(3):
            told = json.loads(top.line())
            comments = {each["group"]: each["comment"] for each in told}
            assert comments == {"239.8.1.1": "the lobby", "239.8.2.2": ""}
        top.process.send_signal(signal.SIGINT)
        assert top.process.wait(timeout=20) == 0


# show


def test_details_add_up_what_the_entries_of_a_route_have_counted(
    filled: CLI, network: Namespace, senders: list[Sender]
) -> None:
    with closing(Sender(Run(socket.AF_INET), network, "eth2", "10.1.0.12", "239.8.2.9")) as other:
        for sender, count in ((senders[0], 7), (senders[2], 4), (other, 4)):
            sender.send(count)
        size = other.packet_size
    while True:
        routes = {each["group"]: each for each in filled.json("show", "-d")}
        packets = {group: each["packets"] for group, each in routes.items()}
        if packets == {"239.8.1.1": 7, "239.8.1.2": 0, "239.8.2.0/24": 8}:
            break
    assert routes["239.8.1.1"]["bytes"] == 7 * size
    assert routes["239.8.2.0/24"]["bytes"] == 8 * size
    assert routes["239.8.1.2"]["packets_per_second"] == 0
    assert routes["239.8.1.1"]["comment"] == "the lobby"
    title, row = filled("show", "--details", "--comment", "lobby").stdout.splitlines()
    added = ["PACKETS", "BYTES", "WRONG-IF", "PACKETS/S", "BIT/S"]
    assert [word for word in title.split() if word in added] == added
    assert row.split()[5:7] == ["7", str(7 * size)]
    title, *rows = filled("show", "streams", "-d").stdout.splitlines()
    assert title.split()[-5:] == ["BYTES", "WRONG-IF", "ROUTE", "TABLE", "COMMENT"]
    assert len(rows) == 4
    done = filled("show", "interfaces", "-d")
    assert done.returncode == 2
    assert "--details is for routes, streams, learned, and not for interfaces" in done.stderr


def test_details_of_a_route_without_an_entry_are_unknown(cli: CLI) -> None:
    cli.apply('[[route]]\ngroup = "239.8.9.9"\niif = "gone"\noifs = []\n', "--wait")
    (route,) = cli.json("show", "-d")
    assert (route["packets"], route["packets_per_second"]) == (None, None)
    assert cli("show", "-d").stdout.splitlines()[1].split()[5:10] == ["-"] * 5


def test_watch_writes_in_place_what_changes(filled: CLI) -> None:
    with terminal(filled, "show", "--watch", "--interval", "0.1", height=8) as watch:
        watch.until(lambda lines: len(groups(lines)) == 3)
        assert filled("mfc", "del", "-s", "10.1.0.10", "-g", "239.8.1.2").returncode == 0
        watch.until(lambda lines: groups(lines) == ["239.8.1.1", "239.8.2.0/24"])
        stop = '[[route]]\ngroup = "239.8.3.{}"\niif = "eth1"\noifs = []\n'
        filled.apply("".join(map(stop.format, range(20))), "--merge")
        lines = watch.until(lambda lines: len(groups(lines)) == 6)
        assert lines[0].startswith("SOURCE")
        os.killpg(watch.process.pid, signal.SIGINT)
        assert watch.end() == 0


def test_watch_in_a_pipe_writes_one_after_the_other(filled: CLI) -> None:
    with filled.start("--json", "show", "--watch", "--interval", "0.1", "239.8.1.1") as watch:
        for _ in range(3):
            (route,) = json.loads(watch.line())
            assert route["group"] == "239.8.1.1"
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(timeout=20) == 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "x", "1e9"])
def test_an_interval_is_a_number_of_seconds(seconds: str, cli: CLI) -> None:
    done = cli("show", "-w", f"--interval={seconds}")
    assert (done.returncode, "is not a number of seconds from 0.1" in done.stderr) == (2, True)
