"""Taking up a table that the kernel already holds: from that to the desired routes (pure).

What is right is not touched, so that no packet is lost and no counter is reset.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.links import Link
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.model import MAX_VIFS, Route, RouteKey
from mfc_dbus.plan import AddEntry, DelEntry, DelOrphan, DelVif, Step, entry, uses
from mfc_dbus.vifs import Vif, Vifs

_HeldKey = tuple[bytes, bytes, int]


class Adoption(NamedTuple):
    """What is to be done, and what the table has then.

    doubtful: VIF numbers that an entry which is not touched may still have, see `Table.doubtful`.
    """

    steps: Sequence[Step]
    vifs: Vifs
    installed: dict[RouteKey, Route]
    doubtful: frozenset[int]


def adopt(
    held_vifs: Mapping[int, int],
    held_entries: Iterable[HeldEntry],
    routes: Iterable[Route],
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
    known = {vif.name for vif in vifs}
    held = {_key(each.source, each.group, each.iif): each for each in held_entries}

    writing: list[Step] = []
    installed: dict[RouteKey, Route] = {}
    for route in routes:
        possible = route.over(known)
        if possible is None:
            continue
        before = held.pop(_key(route.source, route.group, present[route.iif].ifindex), None)
        if before is None and possible != route.over(present):
            continue  # it is new to the kernel, and comes whole or not at all
        installed[route.key] = possible
        wanted = entry(possible, vifs)
        # Without one of its interfaces it may still have that one's number, unseen.
        if before is None or possible is not route or _as_mfc(before, numbers) != wanted:
            writing.append(AddEntry(wanted))
    for name, count in uses(installed.values()).items():
        vifs.acquire(name, present[name].ifindex, count)

    missing = frozenset(range(MAX_VIFS)) - held_vifs.keys()
    deleting: list[Step] = []
    for each in held.values():
        if each.iif or any(each.source):
            deleting.append(_delete(each, numbers))
        else:
            # An any-source entry is found by its parent only, and that has gone.
            deleting += [DelOrphan(MFCEntry(each.source, each.group, n, ())) for n in missing]
    leaving: list[Step] = []
    for vif in [vif for vif in vifs if not vif.references]:
        vifs.drop(vif.name)
        leaving.append(DelVif(vif.number, vif.ifindex))
    return Adoption([*deleting, *writing, *leaving], vifs, installed, missing)


def _key(source: bytes, group: bytes, iif: int) -> _HeldKey:
    """What the kernel finds an entry by."""
    return source, group, 0 if any(source) else iif


def _as_mfc(held: HeldEntry, numbers: Mapping[int, int]) -> MFCEntry:
    """Write a held entry as `plan.entry` writes the wanted one."""
    parent = numbers.get(held.iif, MAX_VIFS)
    ttls = {numbers[ifindex]: ttl for ifindex, ttl in held.oifs.items()}
    if not any(held.source):
        ttls.pop(parent, None)
    return MFCEntry(held.source, held.group, parent, tuple(sorted(ttls.items())))


def _delete(held: HeldEntry, numbers: Mapping[int, int]) -> Step:
    return DelEntry(MFCEntry(held.source, held.group, numbers.get(held.iif, 0), ()))
