"""Databases as an earlier version left them: of the schema's version 2, after a crash.

They were made by that version, and dumped. In /var/lib a change of both files is done, of which the
part for the file in /run is not: its rest is still to be done there.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import structs

from mfc_dbus.model.desired import Desired
from mfc_dbus.model.membership import parse_membership
from mfc_dbus.model.route import parse_route

STATE, RUNTIME = (
    Path(__file__).with_name(f"earlier_{name}.sql").read_text() for name in ("state", "runtime")
)

DURABLE: list[Desired] = [
    parse_route("*", "239.1.1.1", "eth0", ["eth1"]),
    parse_route("*", "239.1.1.1", "eth3", ["eth1"], table=100),
    parse_route("fd00::1", "ff05::1", "eth0", ["eth1"]),
    parse_route("10.1.0.0/16", "239.2.0.0/16", "eth*", ["vlan[12]?", "eth1"]),
    parse_membership("239.1.1.1", "*", "eth0", "ein Kommentar"),
    parse_membership("239.1.1.1", "10.0.0.1", "eth0"),
]
TIMED = structs.replace(parse_route("*", "ff05::3", "eth0", ["eth1"]), expires=2**62)
BEFORE_THE_REST: list[Desired] = [
    structs.replace(parse_route("*", "ff05::2", "eth0", ["eth1"]), persistent=False),
    structs.replace(parse_membership("ff05::1", "*", "eth0"), persistent=False),
    TIMED,
]
PASSING: list[Desired] = [
    structs.replace(
        parse_route(
            "10.0.0.1", "239.1.1.1", "eth0", ["eth1", "eth2"], {"eth2": 16}, "ein Kommentar"
        ),
        persistent=False,
    ),
    structs.replace(parse_membership("239.9.9.9", "*", "eth0"), persistent=False),
    TIMED,
]


def make(path: Path, sql: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(sql)


def make_both(home: Path) -> None:
    make(home / "state" / "routes.db", STATE)
    make(home / "runtime" / "routes.db", RUNTIME)
