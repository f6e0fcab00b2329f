"""What the DriftDetector is given: who reads tables, who hears of changes, and who goes on with
what an earlier process left.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.mfc_events import EntryChange
from mfc_dbus.model.route import TableId
from mfc_dbus.routing.table import Table


class Reader(Protocol):
    """Tells what tables of ours hold; each raises OSError."""

    def read_vifs(self, id_: TableId) -> Mapping[int, int]:
        """Find ifindexes by VIF number."""

    def read_entries(self, id_: TableId) -> AsyncIterator[Iterable[HeldEntry]]:
        """Go through the entries, some at a time, and at last those that are not resolved.

        Deletions meanwhile make it skip others.
        """


class Hearing(Protocol):
    """Hears how entries change in all tables, whoever changes them."""

    def read(self) -> Iterable[EntryChange | None]:
        """Go through the changes since the last time; None where some were missed."""

    def hear_owners(self, heard: bool) -> None:
        """Choose whether what we write ourselves is heard of, too. Raises OSError.

        It may be heard all the same. Deletions are heard in any case.
        """


class Heir(Protocol):
    """Goes on with what an earlier process left in a table."""

    def inherit(self, table: Table, source: bytes, group: bytes, iif: str) -> bool:
        """Go on with the entry of a stream, if a route covers it. Return whether that is done."""

    async def finish_adoption(
        self, table: Table, unresolved: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Go on with a table of which all is seen now. Raises OSError.

        unresolved: sources and groups of the streams that the kernel has asked about.
        """
