"""Rules that choose a packet's multicast routing table by its arrival interface, as `ip mrule`.

Only OSError is raised here. A rule holds the name of an interface, which need not exist. Source:
linux/fib_rules.h, net/core/fib_rules.c.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mfc_dbus.kernel.netlink import (
    NLM_F_REQUEST_ACK,
    NLM_F_REQUEST_DUMP,
    RTNL_FAMILIES,
    UINT32,
    ask,
    attribute,
    attributes,
)

_RTM_NEWRULE = 32
_RTM_DELRULE = 33
_RTM_GETRULE = 34
_NLM_F_CREATE_EXCL = 0x600
_FIB_RULE_HDR = struct.Struct("=BBBBBBBBL")  # family, six fields that are 0, action, flags
_FR_ACT_TO_TBL = 1
_FIB_RULE_INVERT = 2
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 3, 6, 15, 21
_FRA_SUPPRESS_IFGROUP, _FRA_SUPPRESS_PREFIXLEN = 13, 14
# A rule without other attributes than these is for all packets that arrive on its interface.
_PLAIN = {
    *(_FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL),
    *(_FRA_SUPPRESS_IFGROUP, _FRA_SUPPRESS_PREFIXLEN),
}
DEFAULT_TABLES = {socket.AF_INET: 253, socket.AF_INET6: 254}

_PROTOCOL = 109  # iproute2's rt_protos and rtnetlink.h leave it free
_PRIORITY = 1000  # before the kernel's own rule, which has 32767
# A rule with both of these is ours; others' rules may have one of them.
_MARKS = {_FRA_PROTOCOL: bytes([_PROTOCOL]), _FRA_PRIORITY: UINT32.pack(_PRIORITY)}


class Rule(NamedTuple):
    """Packets that arrive on `iif` are looked up in this table."""

    family: socket.AddressFamily
    table: int
    iif: str


class AnyRule(NamedTuple):
    """A rule of whoever made it, of which the first that is for a packet counts.

    iif: empty for any. table: its number, 0 for the default table; None where the packet is
    dropped. inverted: whether it is for all that does not match. selects_more: whether it is only
    for packets that something else selects too, such as a mark. Addresses are no part of such
    rules (ipmr_rule_match).
    """

    priority: int
    iif: str
    table: int | None
    inverted: bool
    selects_more: bool


def of_all(family: socket.AddressFamily) -> list[AnyRule]:
    """Return all rules of a family, the first one first. Needs no capability."""
    found = []
    for data, message in ask(_RTM_GETRULE, NLM_F_REQUEST_DUMP, _header(family)):
        if message.type == _RTM_NEWRULE:
            found.append(_any_rule(family, data, message.start, message.end))
    return sorted(found, key=lambda rule: rule.priority)


def _any_rule(family: socket.AddressFamily, data: bytes, start: int, end: int) -> AnyRule:
    *_, table, _, _, action, flags = _FIB_RULE_HDR.unpack_from(data, start)
    start += _FIB_RULE_HDR.size
    found = dict(attributes(data, start, end))
    if _FRA_TABLE in found:
        (table,) = UINT32.unpack(found[_FRA_TABLE])
    (priority,) = UINT32.unpack(found.get(_FRA_PRIORITY, bytes(4)))
    number = 0 if table == DEFAULT_TABLES[family] else table
    return AnyRule(
        priority,
        found.get(_FRA_IIFNAME, b"").rstrip(b"\0").decode(errors="surrogateescape"),
        number if action == _FR_ACT_TO_TBL else None,
        inverted=bool(flags & _FIB_RULE_INVERT),
        selects_more=bool(found.keys() - _PLAIN),
    )


def ours() -> set[Rule]:
    """Return the rules that `replace` made, here or in an earlier process."""
    return {rule for family in RTNL_FAMILIES for rule in _ours(family)}


def replace(wanted: Iterable[Rule]) -> None:
    """Make these our only rules, and touch none that stays. Needs CAP_NET_ADMIN."""
    wanted, present = set(wanted), ours()
    for rule in sorted(wanted - present):
        _change(rule, _RTM_NEWRULE, NLM_F_REQUEST_ACK | _NLM_F_CREATE_EXCL)
    for rule in sorted(present - wanted):
        _change(rule, _RTM_DELRULE, NLM_F_REQUEST_ACK)


def _ours(family: socket.AddressFamily) -> Iterator[Rule]:
    for data, message in ask(_RTM_GETRULE, NLM_F_REQUEST_DUMP, _header(family)):
        if message.type == _RTM_NEWRULE:
            *_, action, flags = _FIB_RULE_HDR.unpack_from(data, message.start)
            start = message.start + _FIB_RULE_HDR.size
            found = dict(attributes(data, start, message.end))
            marked = all(found.get(type_) == value for type_, value in _MARKS.items())
            looks_up = action == _FR_ACT_TO_TBL and not flags & _FIB_RULE_INVERT
            if marked and looks_up and _FRA_IIFNAME in found:
                (table,) = UINT32.unpack(found[_FRA_TABLE])
                name = found[_FRA_IIFNAME].rstrip(b"\0").decode(errors="surrogateescape")
                yield Rule(family, table, name)


def _change(rule: Rule, type_: int, flags: int) -> None:
    written = (
        _header(rule.family, _FR_ACT_TO_TBL),
        attribute(_FRA_TABLE, UINT32.pack(rule.table)),
        attribute(_FRA_IIFNAME, rule.iif.encode(errors="surrogateescape") + b"\0"),
        *(attribute(type_, value) for type_, value in _MARKS.items()),
    )
    for _ in ask(type_, flags, b"".join(written)):
        pass


def _header(family: socket.AddressFamily, action: int = 0) -> bytes:
    return _FIB_RULE_HDR.pack(RTNL_FAMILIES[family], 0, 0, 0, 0, 0, 0, action, 0)
