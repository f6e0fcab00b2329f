"""Imagine one option more, "colour", of routes and memberships: as a program of its own, since all
modules have to be loaded with it.

It has its entry in the table, and what it does: a field of Route and Membership, and a parameter of
what parses them. Prints the places that know it then, and those written by hand that have to be
told of it.
"""

import asyncio
import contextlib
import importlib
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mfc_dbus.model import membership, options, route

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "data/man")]

COLOUR = """
COLOUR = Option(
    "colour", "u", 0, "the number of a colour", Flag("--colour", "paint it", "N"), "Its colour", 3
)
"""
STREAM = ("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
JOINED = ("239.1.1.1", "*", "eth0")


def imagine() -> None:
    """Enter it in the table, and give it what it does."""
    source = inspect.getsource(options)
    for table in ("ROUTE = (", "MEMBERSHIP = ("):
        before = f"\n{table}"
        assert source.count(before) == 1
        source = source.replace(before, f"{COLOUR}\n{table}COLOUR, ")
    exec(source, options.__dict__)
    parse, make = route.parse_route, membership.MembershipRange.memberships

    class Painted(route.Route, frozen=True, gc=False):
        colour: int = 0

    class PaintedMembership(membership.Membership, frozen=True, gc=False):
        colour: int = 0

    def copy(type_: Any, plain: Any, colour: int) -> Any:
        fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
        return type_(**fields, colour=colour)

    def parse_route(*args: Any, colour: int = 0, **said: Any) -> Any:
        return copy(Painted, parse(*args, **said), colour)

    def memberships(self: Any, *args: Any, colour: int = 0, **said: Any) -> Any:
        return [copy(PaintedMembership, each, colour) for each in make(self, *args, **said)]

    parse_route.__signature__ = _with_colour(parse)  # type: ignore[attr-defined]
    memberships.__signature__ = _with_colour(make)  # type: ignore[attr-defined]
    cast(Any, route).parse_route = parse_route
    cast(Any, membership.MembershipRange).memberships = memberships


def _with_colour(function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    colour = inspect.Parameter("colour", inspect.Parameter.KEYWORD_ONLY, default=0)
    return signature.replace(parameters=[*signature.parameters.values(), colour])


def knowing() -> Iterator[str]:
    """Name the places that know the option, each tried by what it does."""
    from mfc_dbus.bus.backend import Variant, decode
    from mfc_dbus.cli.arguments import parse
    from mfc_dbus.cli.completion import offers
    from mfc_dbus.cli.diff import write
    from mfc_dbus.cli.options import given
    from mfc_dbus.cli.requests import parse_request
    from mfc_dbus.cli.verbs import batch
    from mfc_dbus.client import Snapshot
    from mfc_dbus.client.differences import diff
    from mfc_dbus.control.history import History
    from mfc_dbus.documents import document, entries
    from mfc_dbus.model.cause import Act
    from mfc_dbus.model.desired import Edit
    from mfc_dbus.model.history import PastChange
    from mfc_dbus.model.journal import Message, Record
    from mfc_dbus.model.members import ROUTE
    from mfc_dbus.model.states import MembershipState, RouteState
    from mfc_dbus.model.status import MembershipStatus, Status
    from mfc_dbus.service.encoded_routes import encode_route
    from mfc_dbus.service.journal import fields
    from mfc_dbus.service.methods import Methods
    from mfc_dbus.service.past_changes import list_changes
    from mfc_dbus.service.properties import describe_membership
    from mfc_dbus.storage import rows

    generate = importlib.import_module("generate")  # of data/man
    red = cast(Any, route).parse_route(*STREAM, colour=7)
    range_ = membership.parse_memberships(*JOINED)
    (joined,) = cast(Any, range_).memberships(colour=7)
    coloured = {"colour": Variant("u", 7)}

    # What comes over the bus
    controller = Recorder()
    methods = Methods(cast(Any, None), cast(Any, None), cast(Any, controller), cast(Any, None))
    methods._add_route(cast(Any, SimpleNamespace(body=[*STREAM, coloured], only_asks=True)))
    controller.old = cast(Any, route).parse_route(*STREAM)
    asked = [*STREAM[:2], coloured]
    methods._change_route(cast(Any, SimpleNamespace(body=asked)))
    methods._join_group(cast(Any, SimpleNamespace(body=[*JOINED, coloured])))
    if controller.route == red:
        yield "AddRoute"
    if controller.changed == red:
        yield "ChangeRoute"
    if controller.memberships == [joined]:
        yield "JoinGroup"

    # What is told
    ((*_, told),) = decode(ROUTE, encode_route(Status(red, RouteState.ACTIVE)))
    if told["colour"] == Variant("u", 7):
        yield "Routes"
    status = MembershipStatus(joined, MembershipState.JOINED, "")
    if describe_membership(status)["colour"].value == 7:
        yield "Memberships"
    described = [entries.report(red, RouteState.ACTIVE)]
    if entries.read_report(document.to_json(described).decode()).route[0].colour == 7:
        yield "Describe"

    # What is told of changes
    history = History()
    edits = [Edit(red, joined)]
    history.begin([PastChange(1, 0, 0, "", Act.ADD, 0, 1, 0, 0, edits)])
    (((past,), _),) = [asyncio.run(list_changes(history, {"number": 1}))]
    if all('"colour":7' in past[name].value for name in ("before", "after")):
        yield "ListChanges"
    logged = dict(fields(Record(Message.ROUTE_CHANGED, "", None, red, joined)))
    if all('"colour":7' in logged[name] for name in ("MFC_BEFORE", "MFC_AFTER")):
        yield "the journal"

    # Documents, and the store
    said = [entries.to_entry(red)], [entries.to_membership_entry(joined)]
    for name, read in (
        ("JSON", document.from_json(document.to_json(*said))),
        ("TOML", document.from_toml(document.to_toml(*said))),
    ):
        if read.routes == [red] and read.memberships == [joined]:
            yield name
    definitions = json.loads(entries.json_schema())["$defs"].values()
    if [each["properties"].get("colour", {}).get("examples") for each in definitions].count(
        [3]
    ) == 2:
        yield "the schema"
    if all(rows.read(rows.write(each, ""))[0] == each for each in (red, joined)):
        yield "the store"

    # The command line
    for words, table in (
        ("mfc add -g 239.1.1.1 -i eth0 -o eth1", options.ADD_ROUTE),
        ("mfc change -g 239.1.1.1", options.CHANGE_ROUTE),
        ("group join -g 239.1.1.1 -i eth0", options.JOIN_GROUP),
    ):
        if given(parse([*words.split(), "--colour", "7"])[1], table) == {"colour": 7}:
            yield " ".join(words.split()[:2])
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            parse([*words.split(), "--help"])
        if "  --colour N " in shown.getvalue() and "paint it" in shown.getvalue():
            yield f"the help of {' '.join(words.split()[:2])}"
        if ("--colour", "paint it") in offers(words.split(), "--col"):
            yield f"the completion of {' '.join(words.split()[:2])}"
    for action, payload in (
        ("ADD_MFC", {"group": "239.1.1.1", "iif": "eth0", "oifs": ["eth1"]}),
        ("CHANGE_MFC", {"group": "239.1.1.1"}),
        ("JOIN_GROUP", {"group": "239.1.1.1", "interface": "eth0"}),
    ):
        request = {"action": action, "payload": payload | {"colour": 7}}
        if parse_request(json.dumps(request).encode()).payload["colour"] == 7:
            yield action
    if [*generate.commands()].count('.It Fl \\-colour Ar "\\&N"') == 3:
        yield "the manual page of the command line"
    if "".join(generate.document()).count('"\\&colour"') == 2:
        yield "the manual page of documents"
    if " ".join(batch.DESCRIPTION.split()).count("colour (the number of a colour)") == 3:
        yield "the help of batch"
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        write(diff(Snapshot([], [], 0), [*said[0], *said[1]], merge=False))
    if shown.getvalue().count(" colour 7") == 2:
        yield "the lines of apply"


class Recorder:
    """Stands for a controller that finds all well; keeps what it is asked for."""

    def __init__(self) -> None:
        self.route: Any = None
        self.old: Any = None
        self.changed: Any = None
        self.memberships: Any = None
        self.view: Any = None
        self.observer: Any = None
        self.joining = self

    def check_add(self, route: Any, **_: Any) -> Any:
        self.route = route
        return SimpleNamespace(questions=lambda _: [])

    def check_change(self, *asked: Any, **_: Any) -> Any:
        self.changed = asked[-1](self.old)
        return self.changed, SimpleNamespace(questions=lambda _: [])

    def check_join(self, wanted: Any, **_: Any) -> None:
        self.memberships = wanted


def complaining() -> Iterator[str]:
    """Name the places that are written by hand and have to be told of the option."""
    from lab.handwritten import places

    for name, place in places().items():
        if place.named != place.wanted:
            yield name


if __name__ == "__main__":
    imagine()
    json.dump({"knowing": [*knowing()], "complaining": [*complaining()]}, sys.stdout)
