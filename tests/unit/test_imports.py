"""Who may import whom: the rooms of the house, from the ground up.

Imports go down only. `mfc_dbus.names` and `mfc_dbus.version` are constants, for everybody.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import mfc_dbus

HOME = Path(mfc_dbus.__file__).parent
PAGE = Path(__file__).parents[2] / "data/doc/architecture.md"
CONSTANTS = {"names", "version"}
MAY_IMPORT = {
    # The ground: these know nobody.
    "kernel": set(),
    "bus": set(),
    "loop": set(),
    "model": set(),
    # What is read and written.
    "documents": {"model"},
    "config": {"documents", "loop", "model"},
    "storage": {"documents", "loop", "model"},
    # The service, inside: none of the first three knows what is above it.
    "routing": {"kernel", "loop", "model"},
    "streams": {"config", "kernel", "loop", "model", "routing"},
    "memberships": {"kernel", "model", "routing"},
    # Of what was seen of a stream it says what that means.
    "explain": {"kernel", "model"},
    "control": {
        "config", "explain", "kernel", "loop", "memberships", "model", "routing", "streams",
    },
    # The service, towards the bus: of the kernel and its tables it knows what control tells.
    "service": {"bus", "control", "documents", "explain", "loop", "model"},
    "daemon": {
        "bus", "config", "control", "kernel", "loop", "memberships", "model", "routing", "service",
        "storage",
    },
    # Its users: they know the service by its interface on the bus alone. What root sees beside it
    # the command line asks the kernel itself.
    "client": {"bus", "documents", "model"},
    "metrics": {"client", "documents", "loop", "model"},
    "dispatcher": {"bus", "client", "model"},
    "applet": {"client", "documents", "model"},
    "cli": {"client", "config", "documents", "kernel", "metrics", "model"},
}  # fmt: skip


def imported(module: Path) -> Iterator[str]:
    """Name the modules of the package that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            if node.module == "mfc_dbus":
                yield from (f"mfc_dbus.{each.name}" for each in node.names)
            elif node.module:
                yield node.module


def rooms(module: Path) -> Iterator[str]:
    for name in imported(module):
        first, *rest = name.split(".")
        if first == "mfc_dbus" and rest:
            yield rest[0]


def arrows() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for module in HOME.rglob("*.py"):
        room = module.relative_to(HOME).parts[0].removesuffix(".py")
        found[room] |= {other for other in rooms(module) if other != room}
    return found


def test_every_room_imports_those_that_it_may_and_no_others() -> None:
    found = {room: others - CONSTANTS for room, others in arrows().items()}
    assert {room: found[room] for room in MAY_IMPORT} == MAY_IMPORT
    assert not any(found[room] for room in found.keys() - MAY_IMPORT.keys())


def test_the_rules_have_no_circle() -> None:
    floors: dict[str, int] = {}
    for room, others in MAY_IMPORT.items():
        assert others <= floors.keys(), f"{room} is above what it imports"
        floors[room] = 1 + max((floors[other] for other in others), default=0)


def test_the_page_of_the_house_has_these_rules() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    told = {room: {*re.findall(r"\w+", others)} - {"nobody"} for room, others in rows}
    assert told == MAY_IMPORT


def test_an_import_anywhere_in_a_module_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import os, mfc_dbus.kernel.abi\n"
        "from mfc_dbus import model\n"
        "def f():\n    from mfc_dbus.bus.names import BUS\n"
    )
    assert sorted(rooms(module)) == ["bus", "kernel", "model"]
