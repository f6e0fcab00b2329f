"""How many packets queues had no room for, and filters of tc dropped. Source: rtnetlink(7), tc(8).

Only OSError is raised here; no privilege is needed.
"""

import struct
from typing import NamedTuple

from mfc_dbus.kernel.netlink import NLM_F_REQUEST_DUMP, ask, attributes

_RTM_NEWQDISC = 36
_RTM_GETQDISC = 38
_TC_H_ROOT, _TC_H_CLSACT = 0xFFFFFFFF, 0xFFFFFFF1
_TCA_KIND, _TCA_STATS2, _TCA_STATS_QUEUE = 1, 7, 3
_TCMSG = struct.Struct("=BxxxiLLL")  # family, ifindex, handle, parent, info
_GNET_STATS_QUEUE = struct.Struct("=LLLLL")  # qlen, backlog, drops, requeues, overlimits


class Dropped(NamedTuple):
    """Packets that an interface dropped.

    queue: those that its queue had no room for. kind: of its queue, "tbf". filters: those that
    filters of tc dropped as they arrived or left: the kernel counts both as one.
    """

    queue: int = 0
    kind: str = ""
    filters: int = 0


def drops() -> dict[int, Dropped]:
    """Return what each interface dropped, by ifindex."""
    found: dict[int, Dropped] = {}
    for data, message in ask(_RTM_GETQDISC, NLM_F_REQUEST_DUMP, bytes(_TCMSG.size)):
        if message.type != _RTM_NEWQDISC:
            continue
        _, ifindex, _, parent, _ = _TCMSG.unpack_from(data, message.start)
        if parent not in (_TC_H_ROOT, _TC_H_CLSACT):
            continue  # the root counts what is dropped below it
        told = dict(attributes(data, message.start + _TCMSG.size, message.end))
        nested = told.get(_TCA_STATS2, b"")
        stats = dict(attributes(nested, 0, len(nested)))
        if _TCA_STATS_QUEUE not in stats:
            continue
        count = _GNET_STATS_QUEUE.unpack_from(stats[_TCA_STATS_QUEUE])[2]
        before = found.get(ifindex, Dropped())
        if parent == _TC_H_CLSACT:
            found[ifindex] = before._replace(filters=count)
        else:
            kind = told.get(_TCA_KIND, b"").rstrip(b"\0").decode(errors="replace")
            found[ifindex] = before._replace(queue=count, kind=kind)
    return found
