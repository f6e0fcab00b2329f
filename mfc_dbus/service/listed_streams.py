"""What was learned, as the bus tells it."""

from collections.abc import Mapping

from mfc_dbus.bus.backend import Body, Variant
from mfc_dbus.control.controller import Controller
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.model.addresses import Prefix, format_source
from mfc_dbus.model.errors import RequestError
from mfc_dbus.routing.placement import Learned
from mfc_dbus.routing.table import Table

_MOST = 1000  # in one reply


async def list_streams(
    controller: Controller, group: Prefix | None, iif: str | None, number: int | None
) -> Body:
    """Describe the streams of a group prefix, an iif and a table; and how many there are.

    Both are as they were when this began. Others are served in between.
    """
    tables = [table for table in controller.tables.values() if number in (None, table.id.number)]
    there = [(table, list(table.learned)) for table in tables]
    described: list[Mapping[str, Variant]] = []
    total = 0
    for table, streams in there:
        async for learned in in_slices(streams):
            if iif in (None, learned.iif) and (group is None or group.covers(learned.group)):
                total += 1
                if total <= _MOST:
                    described.append(_stream(table, learned))
    return [described, total]


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
    except (OSError, RequestError):  # it was deleted, or the table given up
        return described
    used = count.packets - count.wrong_if
    # The kernel does not tell apart the bytes that came by another interface.
    size = count.bytes * used // count.packets if count.packets else 0
    return described | {"packets": Variant("t", used), "bytes": Variant("t", size)}
