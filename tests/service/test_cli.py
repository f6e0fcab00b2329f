"""The command line against the real daemon: as a script, as a program, and at a terminal."""

import asyncio
import contextlib
import io
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import BUS_NAME, CONFIGURATION, PROGRAMS, Daemon
from lab.forked import at_terminal
from lab.igmp import Member, members
from lab.netns import Namespace
from lab.packets import Run, Sender
from lab.polkit import CHALLENGE, NO, YES, MockPolkit
from lab.privileges import CAP_DAC_READ_SEARCH, become, in_child
from lab.topology import Topology
from lab.witness import Entry, entries

from mfc_dbus.cli import main
from mfc_dbus.kernel.mroute import MRoute

IPV4 = socket.AF_INET
STREAM = ["--source", "10.1.0.10", "--group", "239.1.2.3"]
ADD = ["mfc", "add", *STREAM, "--iif", "eth1", "--oifs", "eth2", "eth3"]
ADD_GROUP = ["mfc", "add", "--iif", "eth1", "--oifs", "eth2", "--group"]
ADD_MFC: dict[str, Any] = {
    "action": "ADD_MFC",
    "payload": {"source": "10.1.0.10", "group": "239.1.2.3", "iif": "eth1", "oifs": ["eth2"]},
}
JOIN = ["group", "join", "--group", "239.1.2.3", "--interface", "eth1"]
SHOWN = {
    "source": "10.1.0.10",
    "group": "239.1.2.3",
    "iif": "eth1",
    "oifs": ["eth2", "eth3"],
    "state": "active",
    "ttls": {},
    "comment": "",
    "persistent": True,
    "expires": 0,
    "origin": "bus",
    "table": 0,
    "reason": "",
    "hairpin": False,
    "enabled": True,
}
UNUSED = {"explain": "mfc-dbus-cli explain 10.1.0.10 239.1.2.3"}
PASSWORD_MAY_BE_ASKED_FOR = 1  # polkit's AllowUserInteraction

_AGENT = """\
#!/bin/bash
echo "$$ of $PPID: $*" > {log}
trap '' HUP
trap 'echo ended >> {log}; exit' TERM
stty -echo < /dev/tty
sleep 0.2
echo ready >> {log}
eval "exec ${1#--notify-fd=}>&-"
for _ in {1..600}; do sleep 0.05; done  # not for ever, also where a test fails
"""


# As a script


def test_a_route_is_added_shown_and_deleted(cli: CLI, network: Namespace) -> None:
    done = cli(*ADD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    oifs = frozenset({("eth2", 1), ("eth3", 1)})
    assert entries(network, IPV4) == {Entry("10.1.0.10", "239.1.2.3", "eth1", oifs)}
    assert cli.json("show") == [SHOWN | UNUSED]
    assert cli("mfc", "del", *STREAM).returncode == 0
    assert entries(network, IPV4) == set()
    assert cli.json("show") == []


def test_a_wide_route_and_a_stop_are_added_and_what_is_learned_is_shown(
    cli: CLI, network: Namespace
) -> None:
    wide = ["--source", "10.1.0.0/16", "--group", "239.1.0.0/16"]
    assert cli("mfc", "add", *wide, "--iif", "eth1", "--oifs", "eth[34]").returncode == 0
    assert cli("mfc", "add", "-g", "239.1.2.4", "-i", "eth1", "--stop").returncode == 0
    assert cli("show").stdout.splitlines()[1:] == [
        "10.1.0.0/16  239.1.0.0/16  eth1  eth[34]  active",
        "*            239.1.2.4     eth1  (stop)   active",
    ]
    done = cli("mfc", "add", *wide[:3], "239.1.2.0/16", "-i", "eth1", "-o", "eth3")
    assert (done.returncode, "it would be '239.1.0.0/16'" in done.stderr) == (2, True)
    with closing(Sender(Run(IPV4), network, "eth2", "10.1.0.10", "239.1.2.3")) as sender:
        sender.send(1)
    while not (streams := cli.json("show", "learned")):
        pass
    (stream,) = streams
    for name in ("packets", "bytes", "wrong_if", "packets_per_second", "bits_per_second", "idle"):
        del stream[name]
    assert stream == {
        "source": "10.1.0.10",
        "group": "239.1.2.3",
        "iif": "eth1",
        "oifs": ["eth3", "eth4"],
        "learned": True,
        "route_source": "10.1.0.0/16",
        "route_group": "239.1.0.0/16",
        "route_iif": "eth1",
        "table": 0,
        "comment": "",
    }
    assert "(10.1.0.0/16, 239.1.0.0/16)" in cli("show", "learned").stdout
    assert cli("mfc", "flush", "--group", "239.1.0.0/16").stdout == "2 routes removed\n"
    assert cli.json("show", "learned") == []


def test_every_option_of_add_reaches_the_service(cli: CLI) -> None:
    assert cli(*ADD).returncode == 0
    more = [
        "--replace",
        "--comment",
        "the lobby's",
        "--ttl",
        "eth3=16",
        "-o",
        "eth4",
        "soon",
        "eth1",
    ]
    more.append("--hairpin")
    done = cli(*ADD, *more)
    assert (done.returncode, "'soon' not found" in done.stderr) == (6, True)
    assert cli(*ADD, *more, "--wait", "--transient").returncode == 0
    changed = {
        "oifs": ["eth2", "eth3", "eth4", "soon", "eth1"],
        "hairpin": True,
        "ttls": {"eth3": 16},
        "comment": "the lobby's",
        "persistent": False,
        "state": "partial",
        "reason": "Interface 'soon' is missing",
    }
    assert cli.json("show") == [SHOWN | changed | {"explain": ""}]


def test_how_long_a_route_is_kept_is_shown_where_that_is_not_for_ever(cli: CLI) -> None:
    for group, *options in (["239.1.1.1"], ["239.1.1.2", "--transient"], ["239.1.1.3"]):
        timeout = ["--timeout", "3600"] if group.endswith("3") else []
        add = ["mfc", "add", "-g", group, "-i", "eth1", "-o", "eth2", *options, *timeout]
        assert cli(*add).returncode == 0
    header, *rows = (line.split() for line in cli("show").stdout.splitlines())
    assert header[5] == "KEPT"
    assert [row[5:] for row in rows[:2]] == [[], ["transient"]]
    (left,) = rows[2][5:]
    assert 3500 < int(left.removesuffix("s")) <= 3600
    timed = cli.json("show")[2]
    assert not timed["persistent"]
    assert timed["expires"] > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--timeout", "0"], "A timeout of 0 seconds leaves no time"),
        (["--timeout", "1y"], "'1y' is not a number of seconds"),
    ],
)
def test_a_time_that_is_none_is_wrong_usage(
    options: Sequence[str], sentence: str, cli: CLI
) -> None:
    done = cli(*ADD, *options)
    assert (done.returncode, sentence in done.stderr) == (2, True)
    assert cli.json("show") == []


def test_a_route_from_any_source_needs_no_source(cli: CLI) -> None:
    assert cli("mfc", "add", "-g", "ff1e::123", "-i", "eth1", "-o", "eth2").returncode == 0
    (route,) = cli.json("show")
    assert route["source"] == "*"
    assert cli("mfc", "del", "-g", "ff1e::123").returncode == 0


def test_routes_are_flushed_by_group_and_iif(cli: CLI) -> None:
    cli.add(*((f"239.{n}.1.1", f"eth{n % 2 + 1}") for n in range(1, 5)))
    assert cli.json("mfc", "flush", "--group", "239.1.0.0/16", "--iif", "eth1") == {"removed": 0}
    assert cli.json("mfc", "flush", "--group", "239.1.0.0/16") == {"removed": 1}
    assert cli("mfc", "flush", "--iif", "eth1").stdout == "2 routes removed\n"
    assert cli("mfc", "flush").stdout == "1 route removed\n"


def test_what_is_piped_is_aligned_columns_in_the_order_of_the_addresses(cli: CLI) -> None:
    cli.add(("ff1e::1", "eth1"), ("239.1.1.10", "eth1"), ("239.1.1.9", "eth2"))
    assert cli("show").stdout.splitlines() == [
        "SOURCE  GROUP       IIF   OIFS  STATE   KEPT  TABLE  COMMENT  REASON",
        "*       239.1.1.9   eth2  eth3  active",
        "*       239.1.1.10  eth1  eth3  active",
        "*       ff1e::1     eth1  eth3  active",
    ]


def test_interfaces_and_tables_are_shown_for_people_and_programs(cli: CLI) -> None:
    assert cli(*ADD).returncode == 0
    assert [one["name"] for one in cli.json("show", "interfaces")] == ["eth1", "eth2", "eth3"]
    tables = cli.json("show", "tables")
    assert [(one["family"], one["state"], one["routes"]) for one in tables] == [
        ("ipv4", "active", 1),
        ("ipv6", "active", 0),
    ]
    assert cli("s", "i").stdout.splitlines()[0].split()[:2] == ["INTERFACE", "FAMILY"]
    assert cli("s", "t").stdout.splitlines()[1].split() == ["ipv4", "0", "active", "1", "3"]


def test_a_group_is_joined_shown_and_left(cli: CLI, network: Namespace) -> None:
    assert cli(*JOIN).returncode == 0
    assert cli(*JOIN, "-s", "10.1.0.10", "--transient", "--comment", "lobby").returncode == 0
    assert cli("g", "j", "-g", "ff1e::1", "-i", "new", "--wait").returncode == 0
    assert members(network) == {Member("eth1", "239.1.2.3", frozenset({"10.1.0.10"}))}
    assert cli("show", "memberships").stdout.splitlines() == [
        "SOURCE     GROUP      INTERFACE  STATE    KEPT       REASON  COMMENT",
        "*          239.1.2.3  eth1       joined",
        "10.1.0.10  239.1.2.3  eth1       joined   transient          lobby",
        "*          ff1e::1    new        waiting",
    ]
    assert cli.json("s", "m")[1] == {
        "source": "10.1.0.10",
        "group": "239.1.2.3",
        "interface": "eth1",
        "state": "joined",
        "reason": "",
        "comment": "lobby",
        "persistent": False,
        "origin": "bus",
    }
    done = cli(*JOIN)
    assert (done.returncode, "exists already" in done.stderr) == (7, True)
    assert cli("group", "leave", *JOIN[2:]).returncode == 0
    assert cli("group", "leave", *JOIN[2:], "-s", "10.1.0.10").returncode == 0
    done = cli("group", "leave", *JOIN[2:])
    assert (done.returncode, "There is no membership" in done.stderr) == (6, True)
    assert members(network) == set()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["mfc", "del", *STREAM], 6, "There is no route (10.1.0.10, 239.1.2.3)"),
        ([*ADD, "nope"], 6, "Interface 'nope' not found"),
        (
            [*ADD, "eth1"],
            2,
            "Interface 'eth1' is both the iif and an oif: with --hairpin what",
        ),
        (
            [*ADD_GROUP, "239.1.2.3", "--ttl", "eth9=2"],
            2,
            "--ttl names 'eth9', which is not an oif of the route",
        ),
        ([*ADD_GROUP, "ff1e::1", "--ttl", "eth2=2"], 2, "no TTL thresholds: leave out --ttl"),
        (["mfc", "change", *STREAM], 2, "nothing to change; there are --add-oifs, --remove-oifs,"),
        # A name that was typed is no option's, be it the same.
        (["group", "join", "-g", "239.1.2.3", "-i", "iif"], 6, "Interface 'iif' not found"),
        ([*ADD_GROUP, "10.0.0.1"], 2, "Group '10.0.0.1' is not a multicast address"),
        ([*ADD_GROUP, "\x1b[31m"], 2, r"Group '\x1b[31m' is not an IPv4 or IPv6 address"),
        ([*ADD, *(f"x{n}" for n in range(30))], 1, "A route has at most 31 oifs"),
        (
            ["group", "join", "-i", "eth1", "-g", "ff01::1"],
            2,
            "Group 'ff01::1' has interface-local scope",
        ),
        ([*JOIN[:-1], "nope"], 6, "Interface 'nope' not found"),
        (["mfc", "flush", "--group", "239.0.0.0/33"], 2, "Prefix length '33'"),
    ],
)
def test_a_refusal_is_the_services_sentence_and_a_status(
    words: Sequence[str], status: int, sentence: str, cli: CLI
) -> None:
    done = cli(*words)
    assert done.returncode == status
    assert done.stderr.startswith("mfc-dbus-cli: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_adding_what_is_there_has_a_status_of_its_own(cli: CLI) -> None:
    assert cli(*ADD).returncode == 0
    done = cli(*ADD)
    assert (done.returncode, "exists already" in done.stderr) == (7, True)


def test_a_user_who_may_not_is_told_so(bus: PrivateBus, daemon: Daemon, nobody: int) -> None:
    def add() -> str:
        become(nobody, keep=(CAP_DAC_READ_SEARCH,))  # Python may lie where only root can read
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            return f"{main(ADD)} {stderr.getvalue()}"

    assert in_child(add).startswith("4 mfc-dbus-cli: Not authorised")


def test_a_service_that_does_not_run_has_a_status_of_its_own(own_bus: PrivateBus) -> None:
    done = CLI(own_bus.address)("show")
    assert done.returncode == 5
    sentence = "is not running: 'systemctl start mfc-dbus' starts it\n"
    assert done.stderr.endswith(f"MulticastForwarding {sentence}")


def test_a_service_that_was_stopped_is_started_by_no_command(tmp_path: Path) -> None:
    started = tmp_path / "started"
    (tmp_path / "test.service").write_text(
        f"[D-BUS Service]\nName={BUS_NAME}\nExec=/usr/bin/touch {started}\n"
    )
    include = tmp_path / "bus.conf"
    include.write_text(f"<busconfig><servicedir>{tmp_path}</servicedir></busconfig>")
    with PrivateBus(includes=[include]) as bus:
        cli = CLI(bus.address)
        for command in (["show"], ADD, ["mfc", "flush"], ["export"], ["batch", "-"]):
            done = cli(*command, given='{"action": "SHOW"}\n')
            assert done.returncode == (1 if command[0] == "batch" else 5), done
        assert not started.exists()
        cli.busctl("get-property", BUS_NAME, "/", BUS_NAME, "Version")
        assert started.exists()


def test_a_table_that_another_program_owns_is_told_of(
    own_bus: PrivateBus, own_network: Namespace
) -> None:
    with own_network:
        other = MRoute(IPV4)
    with closing(other):
        other.init()
        with Daemon(own_bus.address, own_network):
            done = CLI(own_bus.address)("--json", "show", "tables")
    assert done.returncode == 0
    assert [table["state"] for table in json.loads(done.stdout)] == ["unavailable", "active"]
    assert done.stderr.startswith("mfc-dbus-cli: Table ipv4 is unavailable: ")


def test_another_machine_is_reached_over_ssh(cli: CLI, bus: PrivateBus) -> None:
    assert cli(*ADD).returncode == 0
    with on_path(
        ssh=f"#!/bin/sh\nshift 3\nexec $1 --bus-path={bus.address}\n",
    ) as (directory, _):
        remote = CLI("unix:path=/nonexistent")
        remote.environment["PATH"] = f"{directory}:{os.environ['PATH']}"
        assert remote.json("-H", "root@router", "show") == [SHOWN | UNUSED]
        assert remote("-H", "root@router", "mfc", "del", *STREAM).returncode == 0
    assert cli.json("show") == []


# As a program: monitor, and batch


def test_monitor_tells_each_change_as_it_happens(cli: CLI) -> None:
    with cli.start("monitor") as monitor:
        assert without_time(monitor.line()) == "service  running"
        cli(*ADD, "--comment", "the lobby's")
        words = "10.1.0.10 239.1.2.3 iif eth1 oifs"
        line = f"added    {words} eth2,eth3 state active comment the lobby's  (root: add)"
        assert without_time(monitor.line()) == line
        cli(*ADD, "--replace", "--ttl", "eth2=9")
        line = f"changed  {words} eth2(ttl>9),eth3 state active  (root: add)"
        assert without_time(monitor.line()) == line
        cli("mfc", "flush")
        line = f"removed  {words} eth2(ttl>9),eth3 state active  (root: flush)"
        assert without_time(monitor.line()) == line
        cli("group", "join", "-g", "239.1.2.3", "-i", "eth1")
        line = "added    join * 239.1.2.3 on eth1 state joined  (root: join)"
        assert without_time(monitor.line()) == line
        cli("group", "leave", "-g", "239.1.2.3", "-i", "eth1")
        line = "removed  join * 239.1.2.3 on eth1 state joined  (root: leave)"
        assert without_time(monitor.line()) == line


def without_time(line: str) -> str:
    """Check that a line begins with the present time, and return the rest."""
    told = datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").astimezone()
    assert abs((datetime.now().astimezone() - told).total_seconds()) < 60
    return line[20:]


def test_monitor_tells_what_an_interface_does(
    own_bus: PrivateBus, own_network: Namespace, own_daemon: Daemon
) -> None:
    cli = CLI(own_bus.address)
    cli("mfc", "add", *STREAM, "--iif", "eth1", "--oifs", "eth2")
    cli("group", "join", "-g", "239.1.2.3", "-i", "eth1")
    with cli.start("--json", "monitor") as monitor:
        monitor.line()
        own_network.ip("link del dev eth1")
        told = [json.loads(monitor.line())]
        while told[-1]["event"] != "membership-changed":  # its pair goes with it, and is told of
            told.append(json.loads(monitor.line()))
    assert {each["cause"]["cause"] for each in told} == {"interface"}
    assert {each["event"] for each in told} == {"changed", "membership-changed"}
    assert {each["cause"]["uid"] for each in told} == {None}
    states = {each.get("route", each.get("membership"))["state"] for each in told}
    assert states == {"waiting"}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_monitor_ends_cleanly(end: signal.Signals, cli: CLI) -> None:
    with cli.start("monitor") as monitor:
        monitor.line()
        monitor.process.send_signal(end)
        assert monitor.process.wait(10) == 0
        assert monitor.line() == ""


def test_monitor_ends_with_its_pipe_and_before_the_next_change(cli: CLI) -> None:
    with cli.start("monitor") as monitor:
        monitor.line()
        monitor.stdout.close()
        assert monitor.process.wait(10) == 0


def test_monitor_survives_a_restart_of_the_daemon(
    own_bus: PrivateBus, own_network: Namespace
) -> None:
    cli = CLI(own_bus.address)
    with cli.start("--json", "monitor") as monitor:
        assert json.loads(monitor.line()) == {"event": "service", "running": False}
        with Daemon(own_bus.address, own_network):
            assert json.loads(monitor.line()) == {"event": "service", "running": True}
            add = ["mfc", "add", *STREAM, "--iif", "eth1", "--oifs", "eth2"]
            assert cli(*add).returncode == 0
            route = SHOWN | {"oifs": ["eth2"]}
            added = json.loads(monitor.line())
            cause = added.pop("cause")
            assert added == {"event": "added", "route": route}
            assert (cause["cause"], cause["action"], cause["user"]) == ("call", "add", "root")
        assert json.loads(monitor.line()) == {"event": "service", "running": False}
        with Daemon(own_bus.address, own_network):
            assert json.loads(monitor.line()) == {"event": "service", "running": True}
            gone = {"event": "removed", "route": route, "cause": None}
            assert json.loads(monitor.line()) == gone, "nobody has told of it"
            assert cli(*add).returncode == 0
            assert json.loads(monitor.line()) == added | {"cause": mock.ANY}


def test_monitor_ends_with_the_bus(own_bus: PrivateBus) -> None:
    with CLI(own_bus.address).start("monitor") as monitor:
        assert without_time(monitor.line()) == "service  stopped"
        own_bus.stop()
        assert monitor.process.wait(10) == 5


def test_a_batch_can_be_talked_with(cli: CLI) -> None:
    with cli.start("batch", "-") as batch:
        added = {"status": "success", "message": "MFC entry for (10.1.0.10, 239.1.2.3) added."}
        assert batch.ask(ADD_MFC) == {"line": 1, "action": "ADD_MFC"} | added
        exists = batch.ask(ADD_MFC)
        assert (exists["status"], exists["error"]) == ("error", "RouteExists")
        assert batch.ask("no JSON\n")["error"] == "InvalidArgs"
        payload = batch.ask({"action": "SHOW"})["payload"]
        assert payload["mfc_rules"] == [SHOWN | {"oifs": ["eth2"]}]
        assert payload["vif_map"].keys() == {"eth1", "eth2"}
        assert {each["vif"] for each in payload["interfaces"]} == {
            each["vifi"] for each in payload["vif_map"].values()
        }
        delete = {"action": "DEL_MFC", "payload": {"source": "10.1.0.10", "group": "239.1.2.3"}}
        assert batch.ask(delete)["status"] == "success"
        batch.stdin.close()
        assert batch.process.wait(10) == 1


def test_a_batch_can_say_how_long_a_route_is_kept_and_what_it_waits_for(cli: CLI) -> None:
    payload = ADD_MFC["payload"] | {"timeout": 60}
    with cli.start("batch", "-") as batch:
        refused = batch.ask({"action": "ADD_MFC", "payload": payload | {"persistent": True}})
        assert refused["message"] == "A route with a timeout is never persistent"
        waiting = payload | {"iif": "soon", "wait": True}
        assert batch.ask({"action": "ADD_MFC", "payload": waiting})["status"] == "success"
        (route,) = batch.ask({"action": "SHOW"})["payload"]["mfc_rules"]
        assert (route["state"], route["persistent"]) == ("waiting", False)
        assert route["expires"] > 0


def test_a_batch_can_join_and_leave(cli: CLI) -> None:
    payload = {"group": "239.1.2.3", "interface": "eth1"}
    with cli.start("batch", "-") as batch:
        assert batch.ask({"action": "JOIN_GROUP", "payload": payload})["status"] == "success"
        exists = batch.ask({"action": "JOIN_GROUP", "payload": payload})
        assert exists["error"] == "MembershipExists"
        assert batch.ask({"action": "LEAVE_GROUP", "payload": payload})["status"] == "success"
        gone = batch.ask({"action": "LEAVE_GROUP", "payload": payload})
        assert gone["error"] == "NoSuchMembership"


def test_a_batch_ends_when_it_is_told_to(cli: CLI) -> None:
    with cli.start("batch", "-") as batch:
        batch.ask({"action": "SHOW"})
        batch.process.send_signal(signal.SIGTERM)
        assert batch.process.wait(10) == -signal.SIGTERM


def test_a_batch_whose_responses_nobody_reads_fails(cli: CLI) -> None:
    with cli.start("batch", "-") as batch:
        batch.ask({"action": "SHOW"})
        batch.stdout.close()
        batch.stdin.write(json.dumps(ADD_MFC) + "\n")
        batch.stdin.flush()
        assert batch.process.wait(10) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show"], "mfc-dbus-cli: No space left on device"),
        (["monitor"], "mfc-dbus-cli: No space left on device"),
        (
            ["--json", "mfc", "flush"],
            '{"error": "System", "message": "No space left on device"}',
        ),
    ],
)
def test_output_that_cannot_be_written_is_an_error(
    words: Sequence[str], told: str, cli: CLI
) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >/dev/full', "sh", PROGRAMS / "mfc-dbus-cli", *words],
        env=cli.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == f"{told}\n"


def test_a_batch_of_a_file_that_all_succeeds_is_done(cli: CLI, tmp_path: Path) -> None:
    file = tmp_path / "requests"
    file.write_text(json.dumps(ADD_MFC))
    done = cli("batch", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert cli("batch", "/nonexistent").stderr == (
        "mfc-dbus-cli: /nonexistent: No such file or directory\n"
    )


# At a terminal


@contextlib.contextmanager
def on_path(**programs: str) -> Iterator[tuple[str, Path]]:
    """A directory with programs that anyone may run, and a file that anyone may write."""
    with tempfile.TemporaryDirectory(prefix="mfc-dbus-cli-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        log = directory / "log"
        log.touch()
        log.chmod(0o666)
        for program, script in programs.items():
            (directory / program).write_text(script.replace("{log}", str(log)))
            (directory / program).chmod(0o755)
        yield name, log


@pytest.fixture
def agent() -> Iterator[tuple[str, Path]]:
    """A pkttyagent that keeps a log."""
    with on_path(pkttyagent=_AGENT) as where:
        yield where


def test_a_terminal_shows_a_table_in_colour(cli: CLI, bus: PrivateBus) -> None:
    assert at_terminal(bus.address, "show").end() == (0, "No routes\n")
    assert at_terminal(bus.address, "show", "learned").end() == (0, "No learned streams\n")
    cli(*ADD, "--comment", "[red]not markup[/]")
    with at_terminal(bus.address, "show") as terminal:
        status, shown = terminal.end()
    assert status == 0
    assert "\x1b[32mactive" in shown
    assert "eth2, eth3" in shown
    assert "[red]not markup[/]" in shown


async def test_a_user_at_a_terminal_can_be_asked_for_his_password(
    daemon: Daemon, bus: PrivateBus, nobody: int, agent: tuple[str, Path]
) -> None:
    path, log = agent
    async with MockPolkit.at(bus.address) as polkit:
        with at_terminal(bus.address, *ADD, uid=nobody, path=path) as terminal:
            check = await polkit.asked.get()
            arguments, ready = log.read_text().splitlines()
            assert f" of {terminal.pid}: --notify-fd=" in arguments
            assert arguments.endswith(" --fallback")
            assert ready == "ready"
            assert check.flags == PASSWORD_MAY_BE_ASKED_FOR
            polkit.tell(check, YES)
            assert await asyncio.to_thread(terminal.end) == (0, "")
            assert terminal.echoes
    assert log.read_text().splitlines()[2:] == ["ended"]


async def test_an_interrupted_prompt_leaves_the_terminal_as_it_was(
    daemon: Daemon, bus: PrivateBus, nobody: int, agent: tuple[str, Path]
) -> None:
    path, _ = agent
    async with MockPolkit.at(bus.address) as polkit:
        with at_terminal(bus.address, *ADD, uid=nobody, path=path) as terminal:
            await polkit.asked.get()
            assert not terminal.echoes
            os.write(terminal.fd, b"\x03")
            status, _ = await asyncio.to_thread(terminal.end)
            assert status == -signal.SIGINT
            assert terminal.echoes
            await polkit.cancelled.get()


async def test_a_command_that_is_killed_leaves_no_agent_behind(
    daemon: Daemon, bus: PrivateBus, nobody: int, agent: tuple[str, Path]
) -> None:
    path, log = agent
    async with MockPolkit.at(bus.address) as polkit:
        with at_terminal(bus.address, *ADD, uid=nobody, path=path) as terminal:
            await polkit.asked.get()
            its_end = os.pidfd_open(int(log.read_text().split()[0]))
            os.kill(terminal.pid, signal.SIGKILL)
            await asyncio.to_thread(terminal.end)
    assert select.select([its_end], [], [], 10)[0]
    os.close(its_end)
    assert log.read_text().splitlines()[2:] == ["ended"]


@pytest.mark.parametrize("words", [["show"], ["--no-ask-password", *ADD]])
async def test_nobody_is_asked_who_need_not_or_would_not(
    words: Sequence[str],
    daemon: Daemon,
    bus: PrivateBus,
    nobody: int,
    agent: tuple[str, Path],
) -> None:
    path, log = agent
    async with MockPolkit.at(bus.address, CHALLENGE) as polkit:
        with at_terminal(bus.address, *words, uid=nobody, path=path) as terminal:
            status, shown = await asyncio.to_thread(terminal.end)
        assert log.read_text() == ""
        if words == ["show"]:
            assert status == 0
        else:
            assert (status, "password" in shown) == (4, True)
            assert (await polkit.asked.get()).flags == 0


async def test_no_agent_is_no_obstacle(daemon: Daemon, bus: PrivateBus, nobody: int) -> None:
    with on_path(pkttyagent="#!/bin/sh\nexit 127\n") as (path, _):
        async with MockPolkit.at(bus.address, NO):
            with at_terminal(bus.address, *ADD, uid=nobody, path=path) as terminal:
                status, shown = await asyncio.to_thread(terminal.end)
    assert status == 4
    assert "Not authorised" in shown


# What arrives and is not routed


@pytest.mark.parametrize(
    ("answers", "status", "said", "present"),
    [
        ("y", 0, "1 added, 0 changed, 0 deleted", True),
        ("n", 1, "What you wrote is in", False),
        ("maybe\ny", 0, "Apply this?", True),
        ("e\ny", 0, "2 added, 0 changed, 0 deleted", True),
        ("\x04", 1, "What you wrote is in", False),
    ],
)
def test_an_edit_is_applied_once_the_user_says_so(
    answers: str, status: int, said: str, present: bool, cli: CLI, bus: PrivateBus, tmp_path: Path
) -> None:
    script = tmp_path / "add"
    script.write_text(
        "#!/bin/sh\nn=$(grep -c group $1)\n"
        'printf \'\\n[[route]]\\ngroup = "239.7.7.%s"\\niif = "eth1"\\noifs = []\\n\' $n >>$1\n'
    )
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISUAL", str(script))
        with at_terminal(bus.address, "edit") as terminal:
            os.write(terminal.fd, answers.encode() + b"\n" * (answers != "\x04"))
            ended, shown = terminal.end()
    assert (ended, said in shown) == (status, True)
    assert ("239.7.7.0" in [route["group"] for route in cli.json("show")]) == present


def test_what_others_change_while_an_edit_is_shown_is_shown_too_and_stays(
    cli: CLI, bus: PrivateBus, tmp_path: Path
) -> None:
    script = tmp_path / "edit"
    script.write_text('#!/bin/sh\nsed -i "s/lobby/hall/; s/entrance/hall/" "$1"\n')
    script.chmod(0o755)
    for group, comment in ("239.7.7.1", "lobby"), ("239.7.7.2", "entrance"):
        add = ["mfc", "add", "-g", group, "-i", "eth1", "--stop", "--comment", comment]
        assert cli(*add).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISUAL", str(script))
        with at_terminal(bus.address, "edit") as terminal:
            terminal.read_until("[n]o: ")
            cli.add(("239.7.7.3", "eth1"))
            assert cli("mfc", "del", "-g", "239.7.7.2").returncode == 0
            os.write(terminal.fd, b"y\n")
            shown = terminal.read_until("[n]o: ")
            os.write(terminal.fd, b"y\n")
            assert terminal.end()[0] == 0
    assert "239.7.7.1" in shown
    assert "239.7.7.2" in shown
    routes = {route["group"]: route["comment"] for route in cli.json("show")}
    assert routes == {"239.7.7.1": "hall", "239.7.7.2": "hall", "239.7.7.3": ""}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of a daemon that watches."""
    (tmp_path / "configuration").mkdir()
    settings = '[discovery]\ninterfaces = ["up*"]\n'
    (tmp_path / "configuration" / CONFIGURATION).write_text(settings)
    return tmp_path


@pytest.fixture
def watching(own_bus: PrivateBus, lab: Topology, home: Path, library: str) -> Iterator[CLI]:
    with Daemon(own_bus.address, lab.router, home=home, library=library):
        yield CLI(own_bus.address, library)


def test_discover_says_how_to_route_what_arrives(lab: Topology, watching: CLI) -> None:
    addresses = lab.addresses
    with watching.start("discover") as discover:
        assert discover.line() == "service  running"
        sender = lab.sender("up1")
        first = sender.send(1)
        line = discover.line()
        stream = f"{addresses.source} {addresses.group} iif up1"
        assert line.startswith(f"unrouted {stream} seen 1  mfc-dbus-cli mfc add --source ")
        words = shlex.split(line.partition("  ")[2].replace("...", "down0 down1"))
        assert watching(*words[1:]).returncode == 0
        sent = first + sender.send(3)
        assert lab.arrived() == {"down0": sent, "down1": sent}
        assert discover.process.poll() is None


def test_discover_survives_a_restart_of_the_daemon(
    own_bus: PrivateBus, lab: Topology, home: Path, library: str
) -> None:
    def service(*, running: bool) -> dict[str, Any]:
        return {"event": "service", "running": running}

    addresses = lab.addresses
    unrouted = {
        "event": "unrouted",
        "source": addresses.source,
        "group": addresses.group,
        "iif": "up0",
        "table": 0,
    }
    with CLI(own_bus.address, library).start("--json", "discover") as discover:
        assert json.loads(discover.line()) == service(running=False)
        for seen in (1, 2):
            with Daemon(own_bus.address, lab.router, home=home, library=library):
                assert json.loads(discover.line()) == service(running=True)
                lab.sender("up0").send(1)
                told = json.loads(discover.line())
                words = f"mfc add --source {addresses.source} --group {addresses.group} --iif up0"
                assert told.pop("command") == ["mfc-dbus-cli", *words.split()]
                assert told == unrouted | {"seen": seen}
            assert json.loads(discover.line()) == service(running=False)


def test_discover_says_what_to_do_where_nothing_is_heard(cli: CLI) -> None:
    with subprocess.Popen(
        [PROGRAMS / "mfc-dbus-cli", "discover"],
        env=cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as discover:
        assert discover.stderr
        sentence = "mfc-dbus-cli: No interface is listened on: no route uses one, and none is "
        assert discover.stderr.readline().startswith(sentence)
        discover.terminate()
        assert discover.wait(10) == 0


def test_monitor_is_not_told_of_streams(lab: Topology, watching: CLI) -> None:
    with watching.start("monitor") as monitor, watching.start("discover") as discover:
        assert without_time(monitor.line()) == discover.line() == "service  running"
        lab.sender("up0").send(1)
        assert discover.line().startswith("unrouted ")
        assert watching("mfc", "add", "-g", "239.7.7.7", "-i", "up0", "-o", "down0").returncode == 0
        assert without_time(monitor.line()).startswith("added ")
