"""The filters of `show`: by stream, interface, table, state or comment of a row."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mfc_dbus.cli.arguments import complete, join
from mfc_dbus.cli.options import number, text
from mfc_dbus.cli.parser import UsageError
from mfc_dbus.model.states import InterfaceState, MembershipState, RouteState, TableState
from mfc_dbus.names import ANY_SOURCE

if TYPE_CHECKING:
    from mfc_dbus.model.addresses import Prefix

STATES = [*dict.fromkeys([*RouteState, *TableState, *InterfaceState, *MembershipState])]

Test = Callable[[Any], bool]  # of a row's value


class Filter(NamedTuple):
    """An option that chooses rows.

    read: makes a test of a row's value from a typed text, or raises ArgumentTypeError. columns:
    attributes to test; of each kind of row the first that it has.
    """

    words: Sequence[str]
    metavar: str
    help: str
    read: Callable[[str], Test]
    columns: Sequence[str]

    @property
    def name(self) -> str:
        return self.words[-1].removeprefix("--")


class Given(NamedTuple):
    """The text that was typed for a filter, and the test that it means."""

    text: str
    test: Test


def add_filters(parser: argparse.ArgumentParser, what: str = "") -> None:
    """Add the filters of `show`. what: only those for this kind of rows."""
    group = parser.add_argument_group("show only")
    for each in FILTERS:
        if what and not {*each.columns} & {*_COLUMNS[what]}:
            continue
        group.add_argument(
            *each.words,
            dest=each.name,
            type=partial(_read, each),
            metavar=each.metavar,
            help=each.help,
        )


def is_address(word: str) -> bool:
    """Return whether a word can be an address or a prefix; no other word of `show` looks so."""
    return word[:1].isdigit() or ":" in word


def read_address(address: str) -> tuple[Filter, Given]:
    """Return the filter, by group or source, that an address means. Raises UsageError."""
    from mfc_dbus.model.addresses import is_multicast

    try:
        filter_ = _GROUP if is_multicast(_parse(address)) else _SOURCE
    except argparse.ArgumentTypeError as error:
        raise UsageError(str(error)) from None
    return filter_, _read(filter_, address)


def take_address(args: argparse.Namespace, address: str) -> None:
    """Set the filter by group or source for an address without an option. Raises UsageError."""
    filter_, read = read_address(address)
    if getattr(args, filter_.name) is not None:
        raise UsageError(f"'{address}' is one {filter_.name} more than can be asked for at once")
    setattr(args, filter_.name, read)


class Addresses(argparse.Action):
    """Parses addresses to filter by; of other words it raises UsageError."""

    def __call__(
        self,
        _: argparse.ArgumentParser,
        args: argparse.Namespace,
        values: str | Sequence[Any] | None,
        __: str | None = None,
    ) -> None:
        for word in values or ():
            take_address(args, word)


def given(args: argparse.Namespace) -> Mapping[str, Given]:
    """Return the filters that were given, by their names."""
    found = {each.name: getattr(args, each.name, None) for each in FILTERS}
    return {name: each for name, each in found.items() if each is not None}


def choose(rows: Sequence[Any], filters: Mapping[str, Given], what: str) -> Sequence[Any]:
    """Return the rows that pass all filters. what: the kind of rows, such as "routes".

    Raises UsageError for a filter by an attribute that these rows do not have.
    """
    columns = _COLUMNS[what]
    for each in FILTERS:
        if each.name in filters:
            column = next((one for one in each.columns if one in columns), None)
            if column is None:
                raise UsageError(f"{each.words[-1]} is not for {what}")
            test = filters[each.name].test
            rows = [row for row in rows if test(getattr(row, column))]
    return rows


def _read(filter_: Filter, value: str) -> Given:
    return Given(value, filter_.read(value))


def _parse(value: str) -> "Prefix":
    from mfc_dbus.model.addresses import parse_source_prefix
    from mfc_dbus.model.errors import InvalidArgs

    try:
        return parse_source_prefix(text(value))
    except InvalidArgs as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _overlapping(value: str) -> Test:
    """Make a test whether an address or prefix overlaps the typed one."""
    if value == ANY_SOURCE:
        return partial(str.__eq__, value)
    wanted = _parse(value)

    def overlaps(found: str) -> bool:
        return found == ANY_SOURCE or _parse(found).overlaps(wanted)

    return overlaps


def _meeting(value: str) -> Test:
    """Make a test whether an interface may be the typed one; both may be patterns."""
    from mfc_dbus.model.interfaces import may_meet

    return partial(may_meet, text(value))


def _any_meeting(value: str) -> Test:
    meets = _meeting(value)
    return lambda names: any(map(meets, names))


def _containing(value: str) -> Test:
    """Make a test whether a text contains the typed one, in upper or lower case."""
    wanted = text(value).casefold()
    return lambda found: wanted in found.casefold()


def _in_state(value: str) -> Test:
    return partial(str.__eq__, complete(text(value), STATES))


def _numbered(value: str) -> Test:
    return partial(int.__eq__, number("the number of a routing table")(value))


_SOURCE = Filter(
    ["-s", "--source"],
    "ADDRESS",
    "what applies to this sender, or overlaps this prefix; '*': what is of any source",
    _overlapping,
    ["source"],
)
_GROUP = Filter(
    ["-g", "--group"],
    "ADDRESS",
    "what applies to this group, also a prefix that it is in; of a prefix, what overlaps it",
    _overlapping,
    ["group"],
)
FILTERS = (
    _SOURCE,
    _GROUP,
    Filter(
        ["-i", "--interface", "--iif"],
        "IF",
        "what arrives on this interface, is joined there, or is it; may be a pattern",
        _meeting,
        ["iif", "interface", "name"],
    ),
    Filter(
        ["-o", "--oifs", "--oif"], "IF", "what leaves by this interface", _any_meeting, ["oifs"]
    ),
    Filter(["--state"], "STATE", f"what is {join(STATES)}", _in_state, ["state"]),
    Filter(["-t", "--table"], "N", "what is of this routing table", _numbered, ["table"]),
    Filter(["--comment"], "TEXT", "what has this in its comment", _containing, ["comment"]),
)

# The attributes of rows that filters look at.
_STREAM = ("source", "group")
_COLUMNS = {
    "routes": (*_STREAM, "iif", "oifs", "state", "table", "comment"),
    "streams": (*_STREAM, "iif", "oifs", "table", "comment"),
    "learned": (*_STREAM, "iif", "oifs", "table", "comment"),
    "interfaces": ("name", "state", "table"),
    "tables": ("state", "table"),
    "memberships": (*_STREAM, "interface", "state", "comment"),
    "permissions": (),
}
