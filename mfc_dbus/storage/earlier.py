"""Reads databases of earlier versions, which kept in two files what is now in one.

Version 1 had a table of routes, and version 2 one of memberships too. A change of both files wrote
its part for the file in /run also into the other file, as its rest, so that the next process could
finish the change.
"""

import ast
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from mfc_dbus.model.addresses import Prefix, format_address, format_source, source_prefix
from mfc_dbus.model.desired import Desired, Key
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.membership import Membership, MembershipKey, parse_membership
from mfc_dbus.model.route import Route, RouteKey, parse_route

VERSIONS = (1, 2)
_TABLES = {
    "route": 'source, "group", key_iif, "table", iif, oifs, comment, persistent, expires',
    "membership": '"group", source, interface, comment, persistent',
}
_ADDRESS_BYTES = (4, 16)


class Handoff(NamedTuple):
    """The part of a change that belongs into the other file, which has its name once it is done."""

    name: str
    changes: Mapping[Key, Desired | None]


def rows(database: sqlite3.Connection) -> Iterator[Sequence[Any]]:
    """Yield the rows of all tables, with text as bytes. Raises sqlite3.Error."""
    known = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
    for table, columns in _TABLES.items():
        if table.encode() in known:
            yield from database.execute(f"SELECT {columns} FROM {table}")


def read(values: Sequence[Any]) -> Desired:
    """Parse a row whose text is bytes. Raises InvalidArgs."""
    try:
        match values:
            case [source, group, _, table, iif, oifs, comment, persistent, expires]:
                return _route(source, group, table, iif, oifs, comment, persistent, expires)
            case [group, source, interface, comment, persistent]:
                return _membership(group, source, interface, comment, persistent)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidArgs("A column has a value that it cannot have") from error
    raise InvalidArgs(f"It has {len(values)} columns")


def read_identity(database: sqlite3.Connection) -> tuple[str, str]:
    """Return the file's identity, and the name of the rest that it took over last.

    A file without a readable one gets a new identity.
    """
    try:
        identity, done = database.execute("SELECT identity, done FROM this").fetchone()
        return identity.decode(), done.decode()
    except (sqlite3.Error, AttributeError, TypeError, UnicodeError):  # it is damaged
        return os.urandom(8).hex(), ""


def read_handoff(database: sqlite3.Connection) -> Handoff:
    """Return the rest that the last change left in this file. Raises sqlite3.Error, InvalidArgs."""
    try:
        name = database.execute("SELECT rest FROM this").fetchone()[0].decode()
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidArgs("The name of the rest cannot be read") from error
    changes: dict[Key, Desired | None] = {}
    for kind, text in database.execute("SELECT kind, row FROM rest"):
        try:
            values = [each.encode() if isinstance(each, str) else each for each in _literal(text)]
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise InvalidArgs("A row of the rest cannot be read") from error
        key, desired = _change(kind, values)
        changes[key] = desired
    return Handoff(name, changes)


def _literal(text: bytes) -> tuple[Any, ...]:
    row = ast.literal_eval(text.decode())
    if not isinstance(row, tuple):
        raise TypeError("it is no row")
    return row


def _change(kind: bytes, values: Sequence[Any]) -> tuple[Key, Desired | None]:
    try:
        match kind, values:
            case ((b"Route" | b"Membership"), _):
                desired = read(values)
                return desired.key, desired
            case b"RouteKey", [source, group, iif, table]:
                return RouteKey(_prefix(source), _prefix(group), iif.decode(), int(table)), None
            case b"MembershipKey", [group, source, interface]:
                return MembershipKey(bytes(group), bytes(source), interface.decode()), None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidArgs("A row of the rest has a value that it cannot have") from error
    raise InvalidArgs("A row of the rest is of no kind that there was")


def _route(
    source: bytes,
    group: bytes,
    table: int,
    iif: bytes,
    oifs: bytes,
    comment: bytes,
    persistent: int,
    expires: int,
) -> Route:
    pairs = [each.rpartition("/") for each in oifs.decode().split()]
    ttls = {name: int(ttl) for name, _, ttl in pairs if int(ttl) != 1}
    route = parse_route(
        format_source(_prefix(source)),
        str(_prefix(group)),
        iif.decode(),
        [name for name, _, _ in pairs],
        ttls,
        comment.decode(),
        _number(table),
    )
    return replace(route, persistent=bool(_number(persistent)), expires=_number(expires))


def _membership(
    group: bytes, source: bytes, interface: bytes, comment: bytes, persistent: int
) -> Membership:
    membership = parse_membership(
        format_address(group),
        format_source(source_prefix(source)),
        interface.decode(),
        comment.decode(),
    )
    return replace(membership, persistent=bool(_number(persistent)))


def _number(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(value)
    return int(value)


def _prefix(blob: bytes) -> Prefix:
    prefix = Prefix(blob[:-1], blob[-1])
    if len(prefix.address) not in _ADDRESS_BYTES or prefix.length > 8 * len(prefix.address):
        raise ValueError(prefix)
    return prefix
