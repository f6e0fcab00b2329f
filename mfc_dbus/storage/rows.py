"""Writes routes and memberships as rows of the store, and checks rows that it reads (pure).

A row holds an entry of a document, in JSON: so every option of documents is stored.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec.structs import replace

from mfc_dbus.documents.document import read_entry, write_entry
from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.desired import Desired, Key
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.route import RouteKey

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


_TYPES = [*Row.__annotations__.values()]


def write(desired: Desired, life: str) -> Row:
    """Make a row. life: is written into it, unless the route or membership survives a reboot."""
    section, entry = write_entry(desired)
    expires = 0 if isinstance(desired, Membership) else desired.expires
    fields = (
        pack(desired.key),
        section.encode(),
        entry,
        expires,
        b"" if desired.survives_reboot else life.encode(),
    )
    return Row(*fields, _checksum(*fields))


def pack(key: Key) -> bytes:
    """Pack a key into bytes that no other key has."""
    if isinstance(key, RouteKey):
        source, (group, group_length), iif, table = key
        name, size = iif.encode(), len(group) + 1
        before = _pack_source(source, table)
        return b"%b%c%b%c%c%b" % (before, size, group, group_length, len(name), name)
    fields = (b"m", key.source, key.group, key.interface.encode())
    return b"".join(bytes((len(field),)) + field for field in fields)


@lru_cache(maxsize=4096)
def _pack_source(source: Prefix, table: int) -> bytes:
    """Pack the beginning of a key, which many routes share."""
    number = b"%d" % table
    return b"%c%b%c%b%c" % (len(number), number, len(source.address) + 1, *source)


def read(values: Sequence[Any]) -> tuple[Desired, str]:
    """Parse a row whose text is bytes. Returns what it keeps, and its life. Raises InvalidArgs.

    Every row goes through the checks that a call's arguments go through.
    """
    if len(values) != COLUMNS:
        raise InvalidArgs(f"It has {len(values)} columns and not {COLUMNS}")
    if [*map(type, values)] != _TYPES:
        raise InvalidArgs("A column has a value of another type")
    key, section, entry, expires, written_life, checksum = values
    if checksum != _checksum(key, section, entry, expires, written_life):
        raise InvalidArgs("Its checksum is wrong")
    try:
        life: str = written_life.decode()
        desired = read_entry(section.decode(), entry)
    except UnicodeError as error:
        raise InvalidArgs("A text is not UTF-8") from error
    if expires:
        if isinstance(desired, Membership) or not 0 < expires < _MAX_EXPIRES:
            raise InvalidArgs("It expires at a time that is none")
        desired = replace(desired, expires=expires)
    if key != pack(desired.key):
        raise InvalidArgs("Its key is another one's")
    if desired.survives_reboot == bool(life):
        raise InvalidArgs("It outlives a reboot, and does not")
    return desired, life


def _checksum(key: bytes, section: bytes, entry: bytes, expires: int, life: bytes) -> int:
    return zlib.crc32(b"\0".join((section, entry, b"%d" % expires, life, key)))
