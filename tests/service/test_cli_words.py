"""status, reload, edit and what show is asked for, against the real daemon."""

import json
import signal
import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import PROGRAMS, Daemon
from lab.netns import Namespace
from lab.packets import Run, Sender

from mfc_dbus.kernel.mroute import MRoute

DOCUMENT = """\
[[route]]
source = "10.1.0.10"
group = "239.1.1.1"
iif = "eth1"
oifs = ["eth2", "eth3"]
comment = "The Lobby's screens"

[[route]]
source = "10.1.0.0/16"
group = "239.1.0.0/16"
iif = "eth[12]"
oifs = ["eth3"]

[[route]]
group = "239.2.2.2"
iif = "eth2"
oifs = ["eth4", "soon"]

[[route]]
group = "ff3e::2"
iif = "gone"
oifs = ["eth2"]

[[membership]]
source = "10.1.0.10"
group = "232.1.1.1"
interface = "eth1"

[[membership]]
group = "ff3e::2"
interface = "gone"
"""


@pytest.fixture
def filled(cli: CLI) -> CLI:
    cli.apply(DOCUMENT, "--wait")
    return cli


def groups(cli: CLI, *words: str) -> list[str]:
    return [row["group"] for row in cli.json(*words)]


LOBBY, WIDE, PARTIAL, WAITING = "239.1.1.1", "239.1.0.0/16", "239.2.2.2", "ff3e::2"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["show"], [WIDE, LOBBY, PARTIAL, WAITING]),
        (["mfc", "show"], [WIDE, LOBBY, PARTIAL, WAITING]),
        # What concerns a stream, be it by a prefix or by any source.
        (["show", "239.1.1.1"], [WIDE, LOBBY]),
        (["show", "--group", "239.1.7.0/24"], [WIDE]),
        (["show", "239.0.0.0/8"], [WIDE, LOBBY, PARTIAL]),
        (["show", "routes", "ff3e::2"], [WAITING]),
        (["show", "ff3e::2", "routes"], [WAITING]),
        (["show", "10.1.0.10"], [WIDE, LOBBY, PARTIAL, WAITING]),
        (["show", "10.1.9.9"], [WIDE, PARTIAL, WAITING]),
        (["show", "10.1.9.9", "239.1.1.1"], [WIDE]),
        (["show", "-s", "*"], [PARTIAL, WAITING]),
        # Interfaces, by name and pattern
        (["show", "--iif", "eth1"], [WIDE, LOBBY]),
        (["show", "--iif", "eth?"], [WIDE, LOBBY, PARTIAL]),
        (["mfc", "show", "--iif", "eth1", "239.1.1.1"], [WIDE, LOBBY]),
        (["show", "--oif", "eth3"], [WIDE, LOBBY]),
        (["show", "--oif", "eth3", "--iif", "eth2"], [WIDE]),
        # The rest
        (["show", "--state", "waiting"], [WAITING]),
        (["show", "--state", "partial"], [PARTIAL]),
        (["show", "--comment", "lobby"], [LOBBY]),
        (["show", "--table", "0", "--comment", "SCREENS"], [LOBBY]),
        (["show", "--table", "7"], []),
        (["show", "memberships"], ["232.1.1.1", "ff3e::2"]),
        (["group", "show", "--iif", "eth1"], ["232.1.1.1"]),
        (["group", "show", "--state", "waiting"], ["ff3e::2"]),
    ],
)
def test_show_shows_what_is_asked_for(words: Sequence[str], shown: list[str], filled: CLI) -> None:
    assert groups(filled, *words) == shown


def test_tables_and_interfaces_are_chosen_too(filled: CLI) -> None:
    assert len(filled.json("show", "tables", "--state", "active")) == 2
    assert filled.json("show", "interfaces", "--state", "missing") == []
    assert {row["name"] for row in filled.json("show", "interfaces")} >= {"eth1", "eth4"}
    assert [row["name"] for row in filled.json("show", "interfaces", "--interface", "eth2")] == [
        "eth2"
    ]
    done = filled("show", "interfaces", "--group", "239.1.1.1")
    assert (done.returncode, "--group is not for interfaces" in done.stderr) == (2, True)


def test_learned_streams_are_chosen_by_what_they_say(filled: CLI, network: Namespace) -> None:
    for source in ("10.1.0.11", "10.1.0.12"):
        with closing(Sender(Run(socket.AF_INET), network, "eth2", source, "239.1.2.3")) as sender:
            sender.send(1)
    while len(streams := filled.json("show", "learned")) < 2:
        pass
    (iif,) = {stream["iif"] for stream in streams}
    other = {"eth1": "eth2", "eth2": "eth1"}[iif]
    for words, sources in {
        ("239.1.2.3", "--oif", "eth3"): ["10.1.0.11", "10.1.0.12"],
        ("10.1.0.12",): ["10.1.0.12"],
        ("--iif", iif, "--table", "0"): ["10.1.0.11", "10.1.0.12"],
        ("--iif", other): [],
        ("--iif", "eth?", "--source", "10.1.0.11"): ["10.1.0.11"],
        ("239.1.2.4",): [],
    }.items():
        shown = filled.json("show", "learned", *words)
        assert sorted(row["source"] for row in shown) == sources


# status


def test_the_status_tells_how_much_there_is_and_what_is_wrong(filled: CLI) -> None:
    version = filled("--version").stdout.split()[1]
    lines = [line.split(None, 1) for line in filled("status").stdout.splitlines()]
    assert lines == [
        ["Service", f"mfc-dbus {version}, running"],
        ["Table", "ipv4: 3 routes on 4 of 32 interfaces"],
        ["Table", "ipv6: 1 route on 0 of 32 interfaces"],
        ["Routes", "4: 2 active, 1 partial, 1 waiting"],
        ["Learned", "0 streams"],
        ["Memberships", "2: 1 joined, 1 waiting"],
        ["Problems", "(*, 239.2.2.2) iif eth2 is partial: Interface 'soon' is missing"],
        ["(*,", "ff3e::2) iif gone is waiting: Interface 'gone' is missing"],
        ["(*,", "ff3e::2) on gone is waiting"],
    ]
    told = filled.json("status")
    assert {name: told[name] for name in ("running", "version", "unit", "learned")} == {
        "running": True,
        "version": version,
        "unit": None,
        "learned": 0,
    }
    assert told["routes"] == {"active": 2, "partial": 1, "waiting": 1}
    assert told["memberships"] == {"joined": 1, "waiting": 1}
    assert [table["routes"] for table in told["tables"]] == [3, 1]
    assert len(told["problems"]) == 3


def test_the_status_of_a_service_with_nothing_to_do_is_short(cli: CLI) -> None:
    assert "Problems     none\n" in cli("status").stdout
    assert "Routes       none\n" in cli("status").stdout
    assert cli.json("status")["problems"] == []


def test_the_status_tells_a_few_of_many_problems(cli: CLI) -> None:
    routes = "".join(
        f'[[route]]\ngroup = "239.1.1.{n}"\niif = "gone"\noifs = []\n' for n in range(25)
    )
    cli.apply(routes, "--wait")
    lines = cli("status").stdout.splitlines()
    assert lines[-1].strip() == "and 15 more routes: see mfc-dbus-cli show routes"
    assert len(lines) == 17


def test_the_status_tells_of_a_table_that_is_not_ours_once(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path
) -> None:
    cli = CLI(own_bus.address)
    with Daemon(own_bus.address, own_network, home=tmp_path):
        assert cli("mfc", "add", "-g", "239.1.1.1", "-i", "eth1", "--stop").returncode == 0
    with own_network:
        other = MRoute(socket.AF_INET)
    with closing(other):
        other.init()
        with Daemon(own_bus.address, own_network, home=tmp_path):
            told = cli.json("status")
    assert told["routes"] == {"unavailable": 1}
    (problem,) = told["problems"]
    assert problem.startswith("Table ipv4 is unavailable: ")


@pytest.mark.parametrize("words", [["status"], ["--json", "status"]])
def test_the_status_of_a_service_that_does_not_run_is_5(
    words: Sequence[str], own_bus: PrivateBus
) -> None:
    done = CLI(own_bus.address)(*words)
    assert (done.returncode, "is not running" in done.stderr) == (5, True)
    if "--json" in words:
        assert json.loads(done.stdout) == {"running": False, "unit": None}
        assert json.loads(done.stderr)["error"] == "NameHasNoOwner"


# reload


def test_reload_reads_the_configuration_again(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path
) -> None:
    with Daemon(own_bus.address, own_network, home=tmp_path) as daemon:
        cli = CLI(own_bus.address)
        daemon.configure("[limits]\nroutes = 0\n")
        assert cli("mfc", "add", "-g", "239.1.1.1", "-i", "eth1", "--stop").returncode == 0
        assert cli("reload").returncode == 0
        assert cli("mfc", "add", "-g", "239.1.1.2", "-i", "eth1", "--stop").returncode == 1
        daemon.configure("[limits]\nruotes = 0\n")
        done = cli("reload")
        assert done.returncode == 1
        assert "line 2: 'limits.ruotes' is no setting" in done.stderr


# Errors for programs


@pytest.mark.parametrize(
    ("words", "status", "error", "message"),
    [
        (["mfc", "del", "-g", "239.1.1.1"], 6, "NoSuchRoute", "There is no route (*, 239.1.1.1)"),
        (["mfc", "del"], 2, "Usage", "the following arguments are required: -g/--group"),
        (["mfc", "delte"], 2, "Usage", "did you mean 'del'?"),
        (["apply", "/nowhere"], 1, "System", "/nowhere: No such file or directory"),
    ],
)
def test_errors_are_objects_where_json_is_asked_for(
    words: Sequence[str], status: int, error: str, message: str, cli: CLI
) -> None:
    done = cli("--json", *words)
    told = json.loads(done.stderr)
    assert (done.returncode, told["error"]) == (status, error)
    assert message in told["message"]


def test_problems_of_a_document_are_objects_with_file_and_line(cli: CLI) -> None:
    done = cli("--json", "apply", "-", given=DOCUMENT.replace("239.1.1.1", "10.1.1.1"))
    (told,) = map(json.loads, done.stderr.splitlines())
    where = (told["error"], told["file"], told["line"])
    assert (done.returncode, where) == (2, ("InvalidArgs", "stdin", 1))
    assert "'10.1.1.1'" in told["message"]


# edit


def editor(cli: CLI, tmp_path: Path, script: str) -> None:
    """Let the editor be a shell script, which has the file as $1."""
    path = tmp_path / "editor"
    path.write_text(f"#!/bin/sh -e\n{script}\n")
    path.chmod(0o755)
    cli.environment |= {"EDITOR": str(path), "TMPDIR": str(tmp_path)}
    cli.environment.pop("VISUAL", None)


def drafts(tmp_path: Path) -> list[Path]:
    return [*tmp_path.glob("mfc-dbus-*/routes.toml")]


def test_what_is_edited_is_applied(filled: CLI, tmp_path: Path) -> None:
    editor(filled, tmp_path, 'sed -i "s/239.1.1.1/239.1.1.7/; s/eth4/eth3/" "$1"')
    before = filled("export").stdout
    done = filled("edit", "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "+ 10.1.0.10 239.1.1.7 iif eth1 oifs eth2,eth3 comment The Lobby's screens",
        "~ * 239.2.2.2 oifs eth4,soon → eth3,soon",
        "- 10.1.0.10 239.1.1.1 iif eth1 oifs eth2,eth3 comment The Lobby's screens",
        "1 added, 1 changed, 1 deleted",
    ]
    wanted = before.replace("239.1.1.1", "239.1.1.7").replace("eth4", "eth3")
    assert sorted(filled("export").stdout.split("\n\n")) == sorted(wanted.split("\n\n"))
    assert drafts(tmp_path) == []


@pytest.mark.parametrize("script", ["true", 'sed -i "s/# The/# the/" "$1"'])
def test_an_edit_without_changes_changes_nothing(filled: CLI, tmp_path: Path, script: str) -> None:
    editor(filled, tmp_path, script)
    before = filled.json("show")
    done = filled("edit")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing has changed\n", "")
    assert filled.json("show") == before
    assert drafts(tmp_path) == []


@pytest.mark.parametrize(
    ("script", "status", "sentence"),
    [
        ('sed -i "s/239.1.1.1/10.1.1.1/" "$1"', 2, "routes.toml:4: route[0]: "),
        ('echo "?" >>"$1"', 2, "'?' is not TOML"),
        ('printf "\\377" >>"$1"', 2, "is not valid UTF-8"),
        ('sed -i "s/eth1/nope/" "$1"', 6, "routes.toml:"),
        (': >"$1"', 2, "with --empty it does"),
        ("exit 3", 1, "The editor ended with 3"),
        ('rm "$1"', 1, "No such file or directory"),
    ],
)
def test_an_edit_that_comes_to_nothing_keeps_what_was_written(
    filled: CLI, tmp_path: Path, script: str, status: int, sentence: str
) -> None:
    editor(filled, tmp_path, script)
    before = filled.json("show")
    done = filled("edit")
    assert (done.returncode, sentence in done.stderr) == (status, True)
    wrote = not script.startswith(("rm", "exit"))
    assert (f"What you wrote is in {tmp_path}/mfc-dbus-" in done.stderr) == wrote
    assert filled.json("show") == before
    assert len(drafts(tmp_path)) == wrote


@pytest.mark.parametrize(
    ("command", "sentence"),
    [("/nowhere/editor -f", "The editor does not start"), ("vi '", "This names no editor")],
)
def test_an_editor_that_does_not_start_leaves_nothing_behind(
    filled: CLI, tmp_path: Path, command: str, sentence: str
) -> None:
    filled.environment |= {"EDITOR": command, "TMPDIR": str(tmp_path)}
    filled.environment.pop("VISUAL", None)
    done = filled("edit")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert sentence in done.stderr
    assert drafts(tmp_path) == []


def test_what_is_edited_is_utf_8_in_any_locale_and_ctrl_c_is_the_editors(
    filled: CLI, tmp_path: Path
) -> None:
    assert (
        filled("mfc", "add", "-g", "239.7.7.7", "-i", "eth1", "--stop", "--comment", "é").returncode
        == 0
    )
    signals = f"grep SigIgn /proc/self/status >{tmp_path}/signals"
    editor(filled, tmp_path, f'sed -i "s/é/è/" "$1"\n{signals}')
    filled.environment |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = filled("edit")
    assert (done.returncode, done.stderr) == (0, "")
    (shown,) = filled.json("show", "239.7.7.7")
    assert shown["comment"] == "è"
    ignored = int((tmp_path / "signals").read_text().split()[1], 16)
    assert not ignored & 1 << signal.SIGINT - 1


def test_what_others_change_during_an_edit_stays(filled: CLI, tmp_path: Path) -> None:
    cli = PROGRAMS / "mfc-dbus-cli"
    others = [
        f"{cli} mfc add -g 239.9.9.9 -i eth1 -o eth2",
        f"{cli} mfc del -s 10.1.0.0/16 -g 239.1.0.0/16",
        f"{cli} mfc add -g 239.2.2.2 -i eth2 -o eth1 soon --wait --replace",
    ]
    edit = 'sed -i "s/The Lobby/A lobby/" "$1"'
    editor(filled, tmp_path, "\n".join([*others, edit]))
    done = filled("edit")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "0 added, 1 changed, 0 deleted"
    routes = {route["group"]: route for route in filled.json("show")}
    assert set(routes) == {LOBBY, PARTIAL, WAITING, "239.9.9.9"}
    assert routes[LOBBY]["comment"] == "A lobby's screens"
    assert routes[PARTIAL]["oifs"] == ["eth1", "soon"]


def test_a_problem_of_a_membership_of_a_prefix_is_told_at_its_line(
    cli: CLI, tmp_path: Path
) -> None:
    entry = '\\n[[membership]]\\ngroup = "%s"\\ninterface = "%s"\\n'
    texts = [entry % ("239.7.7.0/30", "eth1"), entry % ("239.7.8.8", "nope")]
    editor(cli, tmp_path, f"printf '{''.join(texts)}' >\"$1\"")
    done = cli("edit")
    assert (done.returncode, "routes.toml:6: membership[1]" in done.stderr) == (6, True)
