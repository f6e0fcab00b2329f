"""status"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mfc_dbus.cli.status import Status, complain
from mfc_dbus.model.quoting import printable
from mfc_dbus.model.states import MembershipState, RouteState, TableState

if TYPE_CHECKING:
    from mfc_dbus.client import Client, MembershipInfo, RouteInfo, Snapshot, TableInfo, UnitInfo

USAGE = ""

DESCRIPTION = """\
Show how the service is: its version, since when it runs, what systemd and the service itself say of
it, its tables, how many routes and memberships there are in each state, and what is wrong. Ends
with 5 where the service does not run.

With --json an object: running (true or false), version, unit (what systemd knows: state, since,
pid, restarts, memory, status; null where there is no systemd), tables (as of "show tables"), routes
and memberships (an object: state to how many), learned (streams), problems (an array of
sentences)."""

EXAMPLES = """\
  mfc-dbus-cli status
  mfc-dbus-cli --json status | jq '.problems[]'
"""

CHANGES = False

_MAX_TOLD = 10  # problems of one kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This verb has no arguments."""


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus.client import ClientError

    unit = await client.unit()
    try:
        version, tables = await client.version(), await client.tables()
        snapshot = await client.snapshot()
        _, learned = await client.streams(learned=True, limit=0)
    except ClientError as error:
        if await client.owner():
            raise
        if args.json:
            print(json.dumps({"running": False, "unit": unit and unit.to_json()}))
        elif unit is not None:
            print(_line("Unit", unit.state))
        complain(str(error), error=error.name, as_json=args.json)
        return Status.NOT_RUNNING
    routes = Counter(each.state for each in snapshot.routes)
    memberships = Counter(each.state for each in snapshot.memberships)
    problems = [*_problems(tables, snapshot)]
    if args.json:
        told = {
            "running": True,
            "version": version,
            "unit": unit and unit.to_json(),
            "tables": [table.to_json() for table in tables],
            "routes": routes,
            "memberships": memberships,
            "learned": learned,
            "problems": problems,
        }
        print(json.dumps(told))
        return Status.DONE
    print(_line("Service", f"mfc-dbus {version}, running{_since(unit)}"))
    if unit is not None and unit.status:
        print(_line("It says", unit.status))
    for table in tables:
        print(_line("Table", _describe(table)))
    print(_line("Routes", _count(routes)))
    print(_line("Learned", f"{learned} stream{'' if learned == 1 else 's'}"))
    print(_line("Memberships", _count(memberships)))
    first, *others = problems or ["none"]
    print(_line("Problems", first))
    for sentence in others:
        print(_line("", sentence))
    return Status.DONE


def _line(title: str, text: str) -> str:
    return f"{title:11}  {printable(text)}"


def _since(unit: "UnitInfo | None") -> str:
    """Say since when the service runs, and as which process."""
    if unit is None:
        return ""
    parts = [f"process {unit.pid}"] if unit.pid else []
    if unit.memory:
        parts.append(f"{unit.memory / 1e6:.0f} MB")
    if unit.restarts:
        parts.append(f"{unit.restarts} restart{'' if unit.restarts == 1 else 's'}")
    since = ""
    if unit.since:
        since = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(unit.since / 1e6))
    return since + (f" ({', '.join(parts)})" if parts else "")


def _describe(table: "TableInfo") -> str:
    from mfc_dbus.model.route import MAX_VIFS

    if table.state == TableState.UNAVAILABLE:
        return f"{table.name}: {table.state}"
    what = f"{table.routes} route{'' if table.routes == 1 else 's'}"
    return f"{table.name}: {what} on {table.interfaces} of {MAX_VIFS} interfaces"


def _count(states: Counter[str]) -> str:
    total = sum(states.values())
    each = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{total}: {each}" if total else "none"


def _problems(tables: "Sequence[TableInfo]", snapshot: "Snapshot") -> Iterator[str]:
    """Yield a sentence for each problem: first of tables, then of routes and memberships."""
    for table in tables:
        if table.state == TableState.UNAVAILABLE:
            yield f"Table {table.name} is unavailable: {table.reason}"
    # No route of a table that is not ours is forwarded: the sentence above says that once.
    usual = (RouteState.ACTIVE, RouteState.UNAVAILABLE, RouteState.DISABLED)
    yield from _first(
        (_route(each) for each in snapshot.routes if each.state not in usual), "routes"
    )
    yield from _first(
        (
            _membership(each)
            for each in snapshot.memberships
            if each.state != MembershipState.JOINED
        ),
        "memberships",
    )


def _first(sentences: Iterable[str], what: str) -> Iterator[str]:
    told = [*sentences]
    yield from told[:_MAX_TOLD]
    if len(told) > _MAX_TOLD:
        yield f"and {len(told) - _MAX_TOLD} more {what}: see mfc-dbus-cli show {what}"


def _route(route: "RouteInfo") -> str:
    return f"({route.source}, {route.group}) iif {route.iif} is {_why(route)}"


def _membership(each: "MembershipInfo") -> str:
    return f"({each.source}, {each.group}) on {each.interface} is {_why(each)}"


def _why(each: Any) -> str:
    return f"{each.state}: {each.reason}" if each.reason else str(each.state)
