"""What was learned, as the bus tells it."""

from collections.abc import Mapping
from itertools import islice

from mfc_dbus.addresses import Prefix, format_source
from mfc_dbus.bus.backend import Body, Variant
from mfc_dbus.controller import Controller
from mfc_dbus.placement import Learned
from mfc_dbus.table import Table

_MOST = 1000  # in one reply: to make these takes some 20 ms, in which nobody else is served


def list_streams(
    controller: Controller, group: Prefix | None, iif: str | None, number: int | None
) -> Body:
    """Describe the streams of a group prefix, an iif and a table; and how many there are."""
    found = [
        (table, learned)
        for table in controller.tables.values()
        if number in (None, table.id.number)
        for learned in table.learned
        if iif in (None, learned.iif) and (group is None or group.covers(learned.group))
    ]
    return [[_stream(*each) for each in islice(found, _MOST)], len(found)]


def _stream(table: Table, learned: Learned) -> Mapping[str, Variant]:
    owner = table.routes.get(learned.owner)
    described = {
        "table": Variant("u", table.id.number),
        "source": Variant("s", str(learned.source)),
        "group": Variant("s", str(learned.group)),
        "iif": Variant("s", learned.iif),
        "oifs": Variant("as", [oif.name for oif in learned.oifs]),
        "route-source": Variant("s", format_source(learned.owner.source)),
        "route-group": Variant("s", str(learned.owner.group)),
        "route-iif": Variant("s", owner.iif if owner is not None else learned.owner.iif),
    }
    try:
        count = table.kernel.sg_count(learned.source.address, learned.group.address)
    except OSError:  # somebody else has deleted it
        return described
    return described | {"packets": Variant("t", count.packets), "bytes": Variant("t", count.bytes)}
