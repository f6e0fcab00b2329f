"""`show` and `discover` name the command that tells why nothing passes by an active route.

up0 ──┐ router,  ┌── down0
      ├ mfc-dbusd┤
up1 ──┘          └── down1
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import CONFIGURATION, PROGRAMS, Daemon
from lab.installed import eventually
from lab.scene import Scene, settings
from lab.terminal import Terminal
from lab.topology import Topology


@pytest.fixture
def scene(lab: Topology, own_bus: PrivateBus, tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / CONFIGURATION).write_text(settings())
    with Daemon(own_bus.address, lab.router, home=tmp_path) as daemon:
        yield Scene(lab, daemon, CLI(own_bus.address))
        assert "Traceback" not in daemon.log


def test_show_names_the_command_where_a_route_is_active_and_nothing_passes(scene: Scene) -> None:
    scene.add()
    scene.add("--table", "100")
    done = scene.cli("show", "--details")
    assert done.stderr.splitlines() == [
        f"mfc-dbus-cli: Nothing of ({scene.source}, {scene.group}) passes; this tells why: "
        f"mfc-dbus-cli explain {scene.source} {scene.group}{table}"
        for table in ("", " --table 100")
    ]
    with scene.flow():
        eventually(lambda: len(scene.cli("show", "-d").stderr.splitlines()) == 1)


def commands(scene: Scene, *words: str) -> list[str | None]:
    return [route["explain"] for route in scene.cli.json("show", *words)]


def test_plain_show_names_it_in_json(scene: Scene) -> None:
    explain = f"mfc-dbus-cli explain {scene.source} {scene.group}"
    scene.add()
    scene.add(oifs=(), source=scene.lab.addresses.other_source)  # which is to stop
    scene.add("--wait", "--table", "100", iif="up7")  # which is not active
    assert sorted(map(str, commands(scene))) == ["", "", explain]
    assert commands(scene, scene.source) == [explain, ""]
    assert commands(scene, "--details", scene.source) == [explain, ""]
    with scene.flow():
        eventually(lambda: not any(commands(scene)))


def on_a_terminal(scene: Scene, *words: str) -> list[str]:
    """The lines of a command that ends."""
    command = shlex.join([str(PROGRAMS / "mfc-dbus-cli"), *words])
    shell = ["sh", "-c", f"{command}; echo END"]
    with Terminal(shell, scene.cli.environment, width=200) as terminal:
        return terminal.until(lambda lines: "END" in lines)


def test_plain_show_names_it_on_a_terminal_and_in_no_pipe(scene: Scene) -> None:
    scene.upstream = "up1"
    scene.add()
    assert scene.cli("show").stderr == ""
    with scene.flow():
        (line,) = [each for each in on_a_terminal(scene, "show") if "tells why" in each]
    words = shlex.split(line.partition("tells why: ")[2])
    assert words == ["mfc-dbus-cli", "explain", scene.source, scene.group]
    assert "packets came by other interfaces" in line
    scene.upstream = "up0"
    with scene.flow():
        eventually(lambda: "tells why" not in "".join(on_a_terminal(scene, "show")))


@pytest.mark.parametrize("as_json", [True, False])
def test_discover_names_it_for_a_stream_that_arrives_elsewhere(scene: Scene, as_json: bool) -> None:
    scene.upstream = "up1"
    scene.add()
    words = ["mfc-dbus-cli", "explain", scene.source, scene.group]
    with scene.flow(), scene.cli.start(*["--json"] * as_json, "discover") as running:
        line = next(line for line in iter(running.line, "") if "silent" in line)
    if as_json:
        told = json.loads(line)
        assert told["command"] == words
        assert (told["source"], told["group"], told["iif"]) == (scene.source, scene.group, "up0")
        assert told["wrong_if"] > 0
    else:
        assert shlex.split(line.rpartition("  ")[2]) == words


def test_discover_names_it_for_a_route_by_which_nothing_comes(scene: Scene) -> None:
    scene.add()
    with scene.cli.start("discover") as running:
        line = next(line for line in iter(running.line, "") if "silent" in line)
    words = ["mfc-dbus-cli", "explain", scene.source, scene.group]
    assert shlex.split(line.rpartition("  ")[2]) == words
    assert "elsewhere" not in line
