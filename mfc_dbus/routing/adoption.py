"""Taking up a table that the kernel already holds: from that to the desired routes (pure).

What is right is not touched, so that no packet is lost and no counter is reset.

Of a very large table only a part is known, since the kernel takes too long to list it. Then what is
not known to be there is written: that replaces an entry with the same key, whatever it says, and
takes no longer than a start on an empty table. The rest, which no route names, is found later, by a
look at the whole table (control/drift.py); until then it may have any VIF number, and no device
gets one (`Table.unseen`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.model.route import MAX_VIFS, Oif, Route, RouteKey, stream_key
from mfc_dbus.routing.learned_entries import derive
from mfc_dbus.routing.placement import Learned, LearnedRoute, Placement, missing, place
from mfc_dbus.routing.present_links import PresentLinks
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
    present: PresentLinks,
    *,
    whole: bool = True,
) -> Adoption:
    """Plan the way to what can be of the routes with the VIFs that there are, and no new ones.

    held_vifs: ifindex by VIF number. whole: whether there are no other entries than those held.
    """
    names = {link.ifindex: link.name for link in present.values()}
    numbers = {ifindex: number for number, ifindex in held_vifs.items()}
    vifs = Vifs()
    for number, ifindex in held_vifs.items():
        vifs.hold(Vif(number, names.get(ifindex, f"ifindex {ifindex}"), ifindex, 0))
    known = present.only(vif.name for vif in vifs)
    held = {_key(each.source, each.group, each.iif): each for each in held_entries}
    devices = _Devices(vifs)

    writing: list[Step] = []
    installed: dict[RouteKey, Placement] = {}
    for route in routes:
        possible = place(route, known, native=routes.native_routes.native(route))
        if possible is None:
            continue
        if isinstance(possible, LearnedRoute):
            installed[route.key] = possible
            continue
        before = held.pop(
            _key(route.source.address, route.group.address, present[route.iif].ifindex), None
        )
        new = whole and before is None and possible is not route
        if new and possible != place(route, present, native=True, preferred=known.keys()):
            continue  # a route that is new to the kernel is installed whole, or later
        installed[route.key] = possible
        # The entry of a route that lacks an interface may still have the number of that one's VIF,
        # which the kernel does not show.
        doubtful = possible is not route and missing(route, possible)
        if before is None or doubtful or not devices.are_those(before, possible):
            writing.append(AddEntry(entry(possible, vifs)))
    for name, count in uses(installed.values()).items():
        vifs.acquire(name, present[name].ifindex, count)

    learned: list[Learned] = []
    for each in [each for each in held.values() if any(each.source) and each.iif in names]:
        stream = stream_key(each.source, each.group, each.table)
        kept = derive(routes, stream, names[each.iif], installed.get)
        if kept is None:
            continue
        del held[_key(each.source, each.group, each.iif)]
        learned.append(kept)
        owner = routes.get(kept.owner)
        assert owner is not None
        if missing(owner, installed[kept.owner]) or not devices.are_those(each, kept):
            writing.append(AddEntry(entry(kept, vifs)))

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
    """Return the key by which the kernel finds an entry."""
    return source, group, 0 if any(source) else iif


class _Devices:
    """Compares what the kernel shows of an entry, in terms of devices, with what is placed."""

    def __init__(self, vifs: Vifs) -> None:
        self._ifindexes = {vif.name: vif.ifindex for vif in vifs}
        # Found once for the very many that have the same.
        self._found: dict[tuple[str, tuple[Oif, ...]], tuple[int, dict[int, int]]] = {}

    def are_those(self, held: HeldEntry, placed: Route | Learned) -> bool:
        """Return whether a held entry has the devices and the thresholds of what is placed."""
        found = self._found.get((placed.iif, placed.oifs))
        if found is None:
            iif, oifs = self._ifindexes[placed.iif], placed.oifs
            found = iif, {self._ifindexes[oif.name]: oif.ttl for oif in oifs}
            self._found[placed.iif, placed.oifs] = found
        iif, ttls = found
        # An any-source entry has its iif among the oifs, by which it never leaves.
        return held.iif == iif and held.oifs == (ttls if placed.source.length else {**ttls, iif: 1})


def _found_by(held: HeldEntry, numbers: Mapping[int, int]) -> MFCEntry:
    """Return the key by which the kernel finds an entry that may have gone since it was read."""
    return MFCEntry(held.source, held.group, numbers.get(held.iif, 0), ())
