"""The entries that we wrote, found by what the kernel finds them by, and written again."""

from typing import NamedTuple

from mfc_dbus.kernel.dump import HeldEntry
from mfc_dbus.kernel.mroute import MFCEntry
from mfc_dbus.model.addresses import Prefix, host_prefix
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey, TableId, stream_key
from mfc_dbus.routing.placement import Learned
from mfc_dbus.routing.steps import AddEntry, DelOrphan, Step, entry
from mfc_dbus.routing.table import Table

Written = Route | Learned


class Key(NamedTuple):
    """What the kernel finds an entry by; iif is the ifindex for any source, and 0 for others."""

    table: TableId
    source: bytes
    group: bytes
    iif: int

    @classmethod
    def of(cls, id_: TableId, held: HeldEntry) -> "Key":
        return cls(id_, held.source, held.group, 0 if any(held.source) else held.iif)


def key_of(table: Table, written: Written) -> Key | None:
    """Return the key of what we wrote; None where it is not on its iif any more."""
    iif = 0
    if not written.source.length:
        if written.iif not in table.vifs:
            return None
        iif = table.vifs[written.iif].ifindex
    return Key(table.id, written.source.address, written.group.address, iif)


def find_written(table: Table, key: Key) -> Written | None:
    """Return the entry that we wrote under a key, None where we wrote none."""
    number = table.id.number
    if any(key.source):
        name = stream_key(key.source, key.group, number)
        placed = table.installed.get(name)
        # A route of just this stream may be learned, too.
        return placed if isinstance(placed, Route) else table.learned.get(name)
    iif = table.vifs.name_of(key.iif)
    if iif is None:
        return None
    placed = table.installed.get(
        RouteKey(Prefix(key.source, 0), host_prefix(key.group), iif, number)
    )
    return placed if isinstance(placed, Route) else None


def as_held(table: Table, key: Key, written: Written | None) -> HeldEntry | None:
    """Return what we wrote under a key as a dump shows it, with devices in place of VIF numbers."""
    if written is None:
        return None
    iif = table.vifs[written.iif].ifindex
    oifs = {table.vifs[oif.name].ifindex: oif.ttl for oif in written.oifs}
    if not any(key.source):
        oifs[iif] = 1
    return HeldEntry(key.source, key.group, iif, oifs, table.id.number)


def without_lost(table: Table, expected: HeldEntry) -> HeldEntry:
    """Leave out devices that have gone while nobody has heard of it, as the kernel does."""
    lost = {table.vifs[name].ifindex for name in table.lost_vifs()}
    oifs = {ifindex: ttl for ifindex, ttl in expected.oifs.items() if ifindex not in lost}
    return expected._replace(iif=0 if expected.iif in lost else expected.iif, oifs=oifs)


def exists(table: Table, key: Key) -> bool:
    """Return whether the kernel has an entry that a dump has not shown."""
    try:
        table.kernel.sg_count(key.source, key.group)
    except OSError:
        return False
    return True


def restore(table: Table, key: Key, written: Written | None) -> None:
    """Write again what we wrote under a key, or delete what others did there. Raises OSError."""
    steps: list[Step]
    if written is not None:
        steps = [AddEntry(entry(written, table.vifs))]
    elif any(key.source):
        steps = [DelOrphan(MFCEntry(key.source, key.group, 0, ()))]
    else:
        # It is found by its parent only, whose device may have gone.
        held = {vif.number: vif.ifindex for vif in table.vifs}
        steps = [
            DelOrphan(MFCEntry(key.source, key.group, number, ()))
            for number in range(MAX_VIFS)
            if held.get(number, key.iif) == key.iif
        ]
    for step in steps:
        step.do(table.kernel)
        table.written += 1
