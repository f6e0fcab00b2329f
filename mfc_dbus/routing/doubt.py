"""VIF numbers in doubt: entries of the kernel may name them though their devices have gone.

See `Table.doubtful`. Before such a number is used again, all entries that an earlier process wrote
are written anew. Where there may be others that nobody has seen, see `Table.unseen`, that would not
be enough: then no number is used for another device.
"""

from collections.abc import Iterator, Sequence

from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.model.errors import KernelError
from mfc_dbus.routing.placement import Learned, LearnedRoute, Placement
from mfc_dbus.routing.steps import AddVif, ChangeEntry, Step, entry
from mfc_dbus.routing.table import Table

UNSEEN = "No interface is taken up until all that an earlier process has left is found"


def removing_doubt(table: Table, steps: Sequence[Step]) -> Sequence[Step]:
    """Return the steps that have to come first where others use a number in doubt; mostly none.

    Raises KernelError where these would not be enough.
    """
    used = [step.vif for step in steps if isinstance(step, AddVif)]
    if used and table.unseen:
        raise KernelError(UNSEEN)
    if table.doubtful.isdisjoint(used):
        return ()
    return [ChangeEntry(each, each) for each in _entries(table)]


async def remove_doubt(table: Table) -> None:
    """Write all entries anew, in slices, so that no number is in doubt. Raises OSError."""
    doubtful = table.doubtful
    async for key in in_slices([*table.installed]):
        _rewrite(table, table.installed.get(key))
    async for stream in in_slices([each.key for each in table.learned]):
        _rewrite(table, table.learned.get(stream))
    if table.doubtful is doubtful:  # and not those of a table that was given up and won again
        table.doubtful = frozenset()


def _entries(table: Table) -> Iterator[MFCEntry]:
    for placed in (*table.installed.values(), *table.learned):
        if not isinstance(placed, LearnedRoute):
            yield entry(placed, table.vifs)


def _rewrite(table: Table, placed: Placement | Learned | None) -> None:
    if placed is not None and not isinstance(placed, LearnedRoute):
        table.kernel.add_mfc(entry(placed, table.vifs))
        table.written += 1
