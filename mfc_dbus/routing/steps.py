"""From the routes that are to those that should be, as kernel steps that can be undone (pure)."""

import errno
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.model.route import Route
from mfc_dbus.routing.placement import Learned, LearnedRoute, Placement
from mfc_dbus.routing.vifs import Vifs


class KernelTable(Protocol):
    """What a plan needs of a routing table in the kernel; each call raises OSError."""

    def add_vif(self, vif: int, ifindex: int) -> None: ...
    def del_vif(self, vif: int) -> None: ...
    def add_mfc(self, entry: MFCEntry) -> None: ...
    def del_mfc(self, entry: MFCEntry) -> None: ...


class AddVif(NamedTuple):
    vif: int
    ifindex: int

    def do(self, kernel: KernelTable) -> None:
        kernel.add_vif(self.vif, self.ifindex)

    def undo(self, kernel: KernelTable) -> None:
        kernel.del_vif(self.vif)


class DelVif(NamedTuple):
    vif: int
    ifindex: int

    def do(self, kernel: KernelTable) -> None:
        kernel.del_vif(self.vif)

    def undo(self, kernel: KernelTable) -> None:
        kernel.add_vif(self.vif, self.ifindex)


class AddEntry(NamedTuple):
    entry: MFCEntry

    def do(self, kernel: KernelTable) -> None:
        kernel.add_mfc(self.entry)

    def undo(self, kernel: KernelTable) -> None:
        _delete(kernel, self.entry)


class ChangeEntry(NamedTuple):
    """Rewrite an entry under its key: the stream flows on, and the counters stay."""

    entry: MFCEntry
    before: MFCEntry

    def do(self, kernel: KernelTable) -> None:
        kernel.add_mfc(self.entry)

    def undo(self, kernel: KernelTable) -> None:
        kernel.add_mfc(self.before)


class DelEntry(NamedTuple):
    entry: MFCEntry

    def do(self, kernel: KernelTable) -> None:
        _delete(kernel, self.entry)

    def undo(self, kernel: KernelTable) -> None:
        kernel.add_mfc(self.entry)


class DelOrphan(NamedTuple):
    """Delete an entry, if it is there, that belongs to no route."""

    entry: MFCEntry

    def do(self, kernel: KernelTable) -> None:
        _delete(kernel, self.entry)

    def undo(self, kernel: KernelTable) -> None:
        """Do nothing: nobody wanted the entry, and what it was is not known."""


def _delete(kernel: KernelTable, entry: MFCEntry) -> None:
    """Delete an entry, which somebody else may have deleted already."""
    try:
        kernel.del_mfc(entry)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


Step = AddVif | DelVif | AddEntry | ChangeEntry | DelEntry | DelOrphan


def plan(
    vifs: Vifs,
    ifindexes: Mapping[str, int],
    old: Sequence[Placement | Learned],
    new: Sequence[Placement | Learned],
) -> list[Step]:
    """Plan the way from what is placed to what is to be, and bring `vifs` to where it ends.

    The order is what keeps packets right: VIFs come before the entries that name them, since the
    kernel drops unknown ones from an entry in silence; an entry goes before a VIF that it names,
    since the next VIF of that number would get its stream. ifindexes: those of all interfaces of
    what is new. Raises TooManyInterfaces.
    """
    before = {each.key: entry(each, vifs) for each in old if not isinstance(each, LearnedRoute)}
    arriving: list[Step] = []
    for name, count in uses(new).items():
        if vifs.acquire(name, ifindexes[name], count):
            arriving.append(AddVif(vifs[name].number, ifindexes[name]))

    writing: list[Step] = []
    for each in new:
        if isinstance(each, LearnedRoute):
            continue
        wanted = entry(each, vifs)
        present = before.pop(each.key, None)
        if present is None:
            writing.append(AddEntry(wanted))
        elif present != wanted:
            writing.append(ChangeEntry(wanted, present))
    deleting = [DelEntry(gone) for gone in before.values()]

    leaving: list[Step] = []
    for name, count in uses(old).items():
        vif = vifs.release(name, count)
        if vif:
            leaving.append(DelVif(vif.number, vif.ifindex))
    return [*arriving, *writing, *deleting, *leaving]


def uses(placed: Iterable[Placement | Learned]) -> dict[str, int]:
    """Count the routes that use each interface, in the order in which they name them."""
    # Mostly of one, for which a Counter would cost more than all of the plan; or of very many, and
    # many of them have the same.
    same: dict[tuple[str, ...], int] = {}
    for each in placed:
        same[each.interfaces] = same.get(each.interfaces, 0) + 1
    return count_by_name(same)


def count_by_name(same: Mapping[tuple[str, ...], int]) -> dict[str, int]:
    """Count by each interface what is counted by all interfaces of a route."""
    counts: dict[str, int] = {}
    for names, count in same.items():
        for name in names:
            counts[name] = counts.get(name, 0) + count
    return counts


def entry(placed: Route | Learned, vifs: Vifs) -> MFCEntry:
    """Write an entry as the kernel does, with VIF numbers for names."""
    return MFCEntry(
        placed.source.address, placed.group.address, *vifs.numbers(placed.iif, placed.oifs)
    )
