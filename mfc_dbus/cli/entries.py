"""The entries of a document as they are applied: for an interface, or for this boot only."""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from msgspec.structs import replace

from mfc_dbus.cli.documents import File
from mfc_dbus.client import Snapshot
from mfc_dbus.client.differences import Entry, Info, Key, documented, key_of, plain
from mfc_dbus.documents import document
from mfc_dbus.documents.document import Document
from mfc_dbus.documents.entries import (
    MembershipEntry,
    RouteEntry,
    to_entry,
    to_membership_entry,
)
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.problems import Problems
from mfc_dbus.model.quoting import quote

INTERFACE = "${INTERFACE}"  # stands for an interface that is named when the document is applied

E = TypeVar("E", RouteEntry, MembershipEntry)


@dataclass(frozen=True, slots=True)
class Entries:
    """What a document says. joins: the memberships as they are written, also of prefixes."""

    routes: Sequence[RouteEntry]
    memberships: Sequence[MembershipEntry]
    joins: Sequence[MembershipEntry]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        routes: list[RouteEntry] = []
        memberships: list[MembershipEntry] = []
        for entry in entries:
            if isinstance(entry, RouteEntry):
                routes.append(entry)
            else:
                memberships.append(entry)
        return cls(routes, memberships, memberships)

    @classmethod
    def read(cls, read: Document, *, transient: bool = False, interface: str | None = None) -> Self:
        """Make them those of an interface, and of this boot only, where asked to.

        Raises InvalidArgs with a line for each place that cannot be filled in.
        """
        problems = Problems()

        def adapted(kind: str, entries: Iterable[E]) -> list[E]:
            return [
                replace(filled, persistent=False) if transient else filled
                for index, entry in enumerate(entries)
                for filled in [_fill(entry, interface, partial(problems.add, (kind, index)))]
            ]

        routes = adapted("route", map(to_entry, read.routes))
        joins = adapted("membership", read.joins)
        problems.check()
        memberships = adapted("membership", map(to_membership_entry, read.memberships))
        return cls(routes, memberships, joins)

    @classmethod
    def documented(cls, snapshot: Snapshot) -> Self:
        """Return all of the service's that documents speak for."""
        infos: list[Info] = [*snapshot.routes, *snapshot.memberships]
        return cls.of(plain(each) for each in infos if documented(each))

    @property
    def all(self) -> list[Entry]:
        return [*self.routes, *self.memberships]

    def without(self, keys: Container[Key]) -> "Entries":
        return Entries.of(entry for entry in self.all if key_of(entry) not in keys)

    def to_json(self) -> str:
        return document.to_json(self.routes, self.joins).decode()

    def write(self, *, as_json: bool) -> str:
        """Write a file's text."""
        return self.to_json() + "\n" if as_json else document.to_toml(self.routes, self.joins)


def read_kept(names: Iterable[str], *, transient: bool) -> dict[Key, Entry]:
    """Read the entries of files; of a key that several have, the last one's.

    Raises OSError, and InvalidArgs with a line for each problem.
    """
    kept: dict[Key, Entry] = {}
    for name in names:
        file = File(name)
        try:
            entries = Entries.read(file.parse(), transient=transient)
        except InvalidArgs as error:
            raise InvalidArgs("\n".join(map(str, file.problems(str(error))))) from None
        kept |= {key_of(entry): entry for entry in entries.all}
    return kept


def _fill(entry: E, interface: str | None, wrong: Callable[[InvalidArgs], None]) -> E:
    """Put an interface in its place. wrong: is told why it cannot be."""

    def fill(name: str) -> str:
        if INTERFACE not in name:
            return name
        if name != INTERFACE:
            wrong(InvalidArgs(f"{quote(name)} is none: '{INTERFACE}' stands for a whole name"))
        elif interface is None:
            wrong(InvalidArgs(f"'{INTERFACE}' is to be filled in: --interface says by what"))
        return interface or name

    if isinstance(entry, MembershipEntry):
        return replace(entry, interface=fill(entry.interface))
    ttls = {fill(name): ttl for name, ttl in entry.ttls.items()}
    if len(ttls) < len(entry.ttls):
        wrong(
            InvalidArgs(
                f"{quote(interface or '')} has two thresholds: its own and that of '{INTERFACE}'"
            )
        )
    return replace(entry, iif=fill(entry.iif), oifs=[*map(fill, entry.oifs)], ttls=ttls)
