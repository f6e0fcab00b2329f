"""Routes and memberships as rows of the store, and what such a row must be to be believed (pure).

A row holds the entry of a document, in JSON, so that an option that documents know is stored too.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from mfc_dbus.documents.document import read_entry, write_entry
from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.route import Desired, Key, Membership, RouteKey

SCHEMA = """
CREATE TABLE kept (
    key BLOB NOT NULL PRIMARY KEY,  -- packed: what makes a route or membership another one
    section TEXT NOT NULL,          -- of a document: route or membership
    entry TEXT NOT NULL,            -- of that section, in JSON
    expires INTEGER NOT NULL,       -- CLOCK_BOOTTIME, nanoseconds; 0: never
    life TEXT NOT NULL,             -- of the machine, with which the row ends; empty: none
    checksum INTEGER NOT NULL       -- CRC-32 of all of this
) WITHOUT ROWID
"""
COLUMNS = 6
_MAX_EXPIRES = 1 << 63


class Row(NamedTuple):
    """A row of the table `kept`, with text as bytes."""

    key: bytes
    section: bytes
    entry: bytes
    expires: int
    life: bytes
    checksum: int

    def values(self) -> Sequence[object]:
        """Return the values as the database is to store them."""
        key, section, entry, expires, life, checksum = self
        return key, section.decode(), entry.decode(), expires, life.decode(), checksum


_TYPES = tuple(Row.__annotations__.values())


def write(desired: Desired, life: str) -> Row:
    """Make a row. life: with which a route or membership ends that is not durable."""
    section, entry = write_entry(desired)
    expires = 0 if isinstance(desired, Membership) else desired.expires
    fields = (
        pack(desired.key),
        section.encode(),
        entry,
        expires,
        b"" if desired.durable else life.encode(),
    )
    return Row(*fields, _checksum(*fields))


def pack(key: Key) -> bytes:
    """Pack a key; no two keys have the same."""
    if isinstance(key, RouteKey):
        fields = (str(key.table).encode(), _pack(key.source), _pack(key.group), key.iif.encode())
    else:
        fields = (b"m", key.source, key.group, key.interface.encode())
    return b"".join(bytes((len(field),)) + field for field in fields)


def read(values: Sequence[Any]) -> tuple[Desired, str]:
    """Read a row with text as bytes: what it keeps, and its life. Raises InvalidArgs.

    Every row goes through the checks that a call's arguments go through.
    """
    if len(values) != COLUMNS:
        raise InvalidArgs(f"It has {len(values)} columns and not {COLUMNS}")
    row = Row(*values)
    if tuple(map(type, row)) != _TYPES:
        raise InvalidArgs("A column has a value of another type")
    if row.checksum != _checksum(*row[:-1]):
        raise InvalidArgs("Its checksum is wrong")
    try:
        life = row.life.decode()
        desired = read_entry(row.section.decode(), row.entry)
    except UnicodeError as error:
        raise InvalidArgs("A text is not UTF-8") from error
    if row.expires:
        if isinstance(desired, Membership) or not 0 < row.expires < _MAX_EXPIRES:
            raise InvalidArgs("It expires at a time that is none")
        desired = replace(desired, expires=row.expires)
    if row.key != pack(desired.key):
        raise InvalidArgs("Its key is another one's")
    if desired.durable == bool(life):
        raise InvalidArgs("It outlives a reboot, and does not")
    return desired, life


def _pack(prefix: Prefix) -> bytes:
    return prefix.address + bytes((prefix.length,))


def _checksum(key: bytes, section: bytes, entry: bytes, expires: int, life: bytes) -> int:
    return zlib.crc32(b"\0".join((section, entry, b"%d" % expires, life, key)))
