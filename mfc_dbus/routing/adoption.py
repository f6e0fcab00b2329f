"""Taking up a table that the kernel already holds: from that to the desired routes (pure).

What is right is not touched, so that no packet is lost and no counter is reset.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.links import Link
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.model.addresses import exactly
from mfc_dbus.model.route import MAX_VIFS, RouteKey
from mfc_dbus.routing.learned_entries import derive
from mfc_dbus.routing.placement import Learned, Placement, Wide, missing, place
from mfc_dbus.routing.routes import Routes
from mfc_dbus.routing.steps import AddEntry, DelOrphan, DelVif, Step, entry, uses
from mfc_dbus.routing.vifs import Vif, Vifs


class Adoption(NamedTuple):
    """What is to be done, and what the table has then.

    doubtful: VIF numbers that an entry which is not touched may still have, see `Table.doubtful`.
    """

    steps: Sequence[Step]
    vifs: Vifs
    installed: dict[RouteKey, Placement]
    learned: Sequence[Learned]
    doubtful: frozenset[int]


def adopt(
    held_vifs: Mapping[int, int],
    held_entries: Iterable[HeldEntry],
    routes: Routes,
    present: Mapping[str, Link],
) -> Adoption:
    """Plan the way to what can be of the routes with the VIFs that there are, and no new ones.

    held_vifs: ifindex by VIF number.
    """
    names = {link.ifindex: link.name for link in present.values()}
    numbers = {ifindex: number for number, ifindex in held_vifs.items()}
    vifs = Vifs()
    for number, ifindex in held_vifs.items():
        vifs.hold(Vif(number, names.get(ifindex, f"ifindex {ifindex}"), ifindex, 0))
    known = {vif.name: present[vif.name] for vif in vifs if vif.name in present}
    held = {_key(each.source, each.group, each.iif): each for each in held_entries}

    writing: list[Step] = []
    installed: dict[RouteKey, Placement] = {}
    for route in routes:
        possible = place(route, known, native=routes.kinds.native(route))
        if possible is None:
            continue
        if isinstance(possible, Wide):
            installed[route.key] = possible
            continue
        before = held.pop(
            _key(route.source.address, route.group.address, present[route.iif].ifindex), None
        )
        if before is None and possible != place(route, present, native=True):
            continue  # it is new to the kernel, and comes whole or not at all
        installed[route.key] = possible
        wanted = entry(possible, vifs)
        # Without one of its interfaces it may still have that one's number, unseen.
        doubtful = possible is not route and missing(route, possible)
        if before is None or doubtful or _as_mfc(before, numbers) != wanted:
            writing.append(AddEntry(wanted))
    for name, count in uses(installed.values()).items():
        vifs.acquire(name, present[name].ifindex, count)

    learned: list[Learned] = []
    for each in [each for each in held.values() if any(each.source) and each.iif in names]:
        stream = RouteKey(exactly(each.source), exactly(each.group), "", each.table)
        kept = derive(routes, stream, names[each.iif], installed.get)
        if kept is None:
            continue
        del held[_key(each.source, each.group, each.iif)]
        learned.append(kept)
        wanted, owner = entry(kept, vifs), routes.get(kept.owner)
        assert owner is not None
        if missing(owner, installed[kept.owner]) or _as_mfc(each, numbers) != wanted:
            writing.append(AddEntry(wanted))

    gone = frozenset(range(MAX_VIFS)) - held_vifs.keys()
    deleting: list[Step] = []
    for each in held.values():
        if each.iif or any(each.source):
            deleting.append(DelOrphan(_found_by(each, numbers)))
        else:
            # An any-source entry is found by its parent only, and that has gone.
            deleting += [DelOrphan(MFCEntry(each.source, each.group, n, ())) for n in gone]
    leaving: list[Step] = []
    for vif in [vif for vif in vifs if not vif.references]:
        vifs.drop(vif.name)
        leaving.append(DelVif(vif.number, vif.ifindex))
    return Adoption([*deleting, *writing, *leaving], vifs, installed, learned, gone)


def _key(source: bytes, group: bytes, iif: int) -> tuple[bytes, bytes, int]:
    """What the kernel finds an entry by."""
    return source, group, 0 if any(source) else iif


def _as_mfc(held: HeldEntry, numbers: Mapping[int, int]) -> MFCEntry:
    """Write a held entry as `plan.entry` writes the wanted one."""
    parent = numbers.get(held.iif, MAX_VIFS)
    ttls = {numbers[ifindex]: ttl for ifindex, ttl in held.oifs.items()}
    if not any(held.source):
        ttls.pop(parent, None)
    return MFCEntry(held.source, held.group, parent, tuple(sorted(ttls.items())))


def _found_by(held: HeldEntry, numbers: Mapping[int, int]) -> MFCEntry:
    """What the kernel finds an entry by, which may have gone since it was read."""
    return MFCEntry(held.source, held.group, numbers.get(held.iif, 0), ())
