"""Writes the history as rows of the store, and checks rows that it reads (pure).

A change has a row of its own, and one for each route or membership that it changed.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from mfc_dbus.documents.document import read_entry, write_entry
from mfc_dbus.model.cause import Act
from mfc_dbus.model.desired import Desired, Edit
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.history import PastChange
from mfc_dbus.model.quoting import printable
from mfc_dbus.model.route import Route

SCHEMA = """
CREATE TABLE history (
    id INTEGER PRIMARY KEY,         -- the number of a change, times 4096; plus the place of an edit
    content TEXT NOT NULL,          -- JSON
    checksum INTEGER NOT NULL       -- CRC-32 of all of this
)
"""
PUT = "INSERT OR REPLACE INTO history VALUES (?, ?, ?)"
DELETE_FROM = "DELETE FROM history WHERE id >= ?"
DELETE_BEFORE = "DELETE FROM history WHERE id < ?"
PLACES = 4096  # of a change, and of its edits
_MAX_ROW = 1 << 52  # far below what SQLite can count to, so that others can follow
_MAX_USER = 64  # characters of a name

_Uint = Annotated[int, Meta(ge=0, lt=1 << 32)]
_Long = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class _Change(Struct, frozen=True, forbid_unknown_fields=True):
    """The row of a change, at place 0. edits: how many rows follow."""

    when: _Long
    uid: _Uint
    user: str
    act: Act
    added: _Uint
    changed: _Uint
    deleted: _Uint
    undoes: _Long
    edits: _Uint


class _Value(Struct, frozen=True, forbid_unknown_fields=True):
    """A route or membership before or after an edit. life: as that of the table `kept`."""

    section: str
    entry: msgspec.Raw
    expires: int = 0
    life: str = ""


class _Edit(Struct, frozen=True, forbid_unknown_fields=True):
    before: _Value | None
    after: _Value | None


_read_change = msgspec.json.Decoder(_Change).decode
_read_edit = msgspec.json.Decoder(_Edit).decode


def write(change: PastChange, life: str) -> Iterator[Sequence[Any]]:
    """Make the rows of a change. life: is written into those that do not outlive a reboot."""
    head = _Change(*change[1:9], edits=len(change.edits))
    yield _row(change.number * PLACES, head)
    for place, edit in enumerate(change.edits, 1):
        both = (_value(each, life) if each else None for each in edit)
        yield _row(change.number * PLACES + place, _Edit(*both))


def first_row(number: int) -> int:
    """Return the id of the first row of a change."""
    return number * PLACES


def read(rows: Iterable[Sequence[Any]], life: str) -> tuple[list[PastChange], int]:
    """Read all rows, in their order, with text as bytes. Return the changes, and how many rows are
    damaged.

    A change of which an edit is missing or in another place, or of a route with a timeout of an
    earlier life, is kept without its edits: it is in the history, and cannot be undone.
    """
    changes: list[PastChange] = []
    edits: list[Edit | None] = []
    expected = damaged = 0

    def finish() -> None:
        if changes:
            whole = [edit for edit in edits if edit is not None]
            if len(whole) == len(edits) == expected:
                changes[-1] = changes[-1]._replace(edits=whole)
        edits.clear()

    for row in rows:
        try:
            number, place, content = _check(row)
            if place:
                if changes and changes[-1].number == number:
                    edit = _parse_edit(content, life)
                    edits.append(edit if place == len(edits) + 1 else None)
                continue
            head = _read_change(content)
        except (InvalidArgs, msgspec.MsgspecError, UnicodeError, RecursionError):
            damaged += 1
            continue
        finish()
        expected = head.edits
        user = printable(head.user)[:_MAX_USER]
        facts = (head.when, head.uid, user, head.act, head.added, head.changed, head.deleted)
        changes.append(PastChange(number, *facts, head.undoes))
    finish()
    return changes, damaged


def _row(id_: int, content: Struct) -> Sequence[Any]:
    text = msgspec.json.encode(content)
    return id_, text.decode(), _checksum(id_, text)


def _check(row: Sequence[Any]) -> tuple[int, int, bytes]:
    """Return the number of the change, the place and the content. Raises InvalidArgs."""
    id_, content, checksum = row
    if not (isinstance(id_, int) and isinstance(content, bytes)):
        raise InvalidArgs("A column has a value of another type")
    if not PLACES <= id_ < _MAX_ROW:
        raise InvalidArgs("No change has this number")
    if checksum != _checksum(id_, content):
        raise InvalidArgs("Its checksum is wrong")
    return *divmod(id_, PLACES), content


def _checksum(id_: int, content: bytes) -> int:
    return zlib.crc32(b"%d\0%b" % (id_, content))


def _value(desired: Desired, life: str) -> _Value:
    section, entry = write_entry(desired)
    expires = desired.expires if isinstance(desired, Route) else 0
    return _Value(section, msgspec.Raw(entry), expires, life if expires else "")


def _parse_edit(content: bytes, life: str) -> Edit | None:
    """Parse an edit. Return None where times in it are those of an earlier life."""
    edit = _read_edit(content)
    both = [_parse_value(each) if each else None for each in (edit.before, edit.after)]
    stale = any(each and each.expires and each.life != life for each in (edit.before, edit.after))
    return None if stale else Edit(*both)


def _parse_value(value: _Value) -> Desired:
    desired = read_entry(value.section, bytes(value.entry))
    if not value.expires:
        return desired
    if not isinstance(desired, Route) or not 0 < value.expires < 1 << 63:
        raise InvalidArgs("It expires at a time that is none")
    return replace(desired, expires=value.expires)
