"""VIF numbers that entries may still have though their devices have gone: see `Table.doubtful`.

Before such a number is used again, all entries that an earlier process wrote are written anew.
"""

from collections.abc import Iterator, Sequence

from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.routing.placement import Learned, Placement, Wide
from mfc_dbus.routing.steps import AddVif, ChangeEntry, Step, entry
from mfc_dbus.routing.table import Table


def removing_doubt(table: Table, steps: Sequence[Step]) -> Sequence[Step]:
    """Find what is to be done at once, before steps that use a doubtful number."""
    if not any(isinstance(step, AddVif) and step.vif in table.doubtful for step in steps):
        return ()
    return [ChangeEntry(each, each) for each in _entries(table)]


async def remove_doubt(table: Table) -> None:
    """Do it in slices, before anybody needs one of these numbers. Raises OSError."""
    doubtful = table.doubtful
    async for key in in_slices([*table.installed]):
        _rewrite(table, table.installed.get(key))
    async for stream in in_slices([each.key for each in table.learned]):
        _rewrite(table, table.learned.get(stream))
    if table.doubtful is doubtful:  # and not those of a table that was given up and won again
        table.doubtful = frozenset()


def _entries(table: Table) -> Iterator[MFCEntry]:
    for placed in (*table.installed.values(), *table.learned):
        if not isinstance(placed, Wide):
            yield entry(placed, table.vifs)


def _rewrite(table: Table, placed: Placement | Learned | None) -> None:
    if placed is not None and not isinstance(placed, Wide):
        table.kernel.add_mfc(entry(placed, table.vifs))
        table.written += 1
