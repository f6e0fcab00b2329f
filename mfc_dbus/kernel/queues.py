"""How many packets the queues of interfaces had no room for. Source: rtnetlink(7), tc(8).

Only OSError is raised here; no privilege is needed.
"""

import struct

from mfc_dbus.kernel.netlink import NLM_F_REQUEST_DUMP, ask, attributes

_RTM_NEWQDISC = 36
_RTM_GETQDISC = 38
_TC_H_ROOT = 0xFFFFFFFF
_TCA_STATS2, _TCA_STATS_QUEUE = 7, 3
_TCMSG = struct.Struct("=BxxxiLLL")  # family, ifindex, handle, parent, info
_GNET_STATS_QUEUE = struct.Struct("=LLLLL")  # qlen, backlog, drops, requeues, overlimits


def drops() -> dict[int, int]:
    """Return the packets that the queue of each interface dropped, by ifindex."""
    found = {}
    for data, message in ask(_RTM_GETQDISC, NLM_F_REQUEST_DUMP, bytes(_TCMSG.size)):
        if message.type != _RTM_NEWQDISC:
            continue
        _, ifindex, _, parent, _ = _TCMSG.unpack_from(data, message.start)
        if parent != _TC_H_ROOT:
            continue  # the root counts what is dropped below it
        told = dict(attributes(data, message.start + _TCMSG.size, message.end))
        stats = told.get(_TCA_STATS2, b"")
        for type_, value in attributes(stats, 0, len(stats)):
            if type_ == _TCA_STATS_QUEUE:
                found[ifindex] = _GNET_STATS_QUEUE.unpack_from(value)[2]
    return found
