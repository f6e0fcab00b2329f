"""The groups that a bridge knows to be wanted behind its ports. Source: linux/if_bridge.h.

Only OSError is raised here; no privilege is needed.
"""

import socket
import struct

from mfc_dbus.kernel.netlink import NLM_F_REQUEST_DUMP, ask, attributes

_RTM_GETMDB = 86  # of the request, and of its answers too (br_mdb_fill_info)
_MDBA_MDB, _MDBA_MDB_ENTRY, _MDBA_MDB_ENTRY_INFO = 1, 1, 1
_BR_PORT_MSG = struct.Struct("=BxxxL")  # family, ifindex
_BR_MDB_ENTRY = struct.Struct("=LBBH16s2s")  # ifindex, state, flags, vid, address, protocol
_LENGTHS = {0x0800: 4, 0x86DD: 16}  # bytes of an address, by its protocol


def groups(bridge: int) -> set[bytes]:
    """Return the packed groups that somebody behind a bridge has joined. bridge: its ifindex."""
    found = set()
    request = _BR_PORT_MSG.pack(socket.AF_BRIDGE, 0)
    for data, message in ask(_RTM_GETMDB, NLM_F_REQUEST_DUMP, request):
        if message.type != _RTM_GETMDB:
            continue
        _, ifindex = _BR_PORT_MSG.unpack_from(data, message.start)
        if ifindex != bridge:
            continue
        for type_, value in attributes(data, message.start + _BR_PORT_MSG.size, message.end):
            if type_ == _MDBA_MDB:
                found |= _groups(value)
    return found


def _groups(database: bytes) -> set[bytes]:
    found = set()
    for type_, entry in attributes(database, 0, len(database)):
        for kind, info in attributes(entry, 0, len(entry)) if type_ == _MDBA_MDB_ENTRY else ():
            if kind == _MDBA_MDB_ENTRY_INFO and len(info) >= _BR_MDB_ENTRY.size:
                *_, address, protocol = _BR_MDB_ENTRY.unpack_from(info)
                length = _LENGTHS.get(int.from_bytes(protocol))
                if length is not None:
                    found.add(address[:length])
    return found
