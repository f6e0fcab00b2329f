"""Which multicast routing table packets use, by the interface on which they arrive: `ip mrule`.

OSError is all that comes out; pyroute2 writes and reads the messages. A rule goes by the name of an
interface, whether or not there is one. Source: net/core/fib_rules.c.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pyroute2.netlink.rtnl import RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

_RTNL_FAMILIES = {socket.AF_INET: 128, socket.AF_INET6: 129}  # RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST_ACK = 0x5
_NLM_F_REQUEST_DUMP = 0x301
_NLM_F_CREATE_EXCL = 0x600
_FR_ACT_TO_TBL = 1
_MESSAGE = 1024 * 1024

_PROTOCOL = 109  # tells our rules from others: iproute2's rt_protos and rtnetlink.h leave it free
_PRIORITY = 1000  # before the kernel's own rule, which has 32767


class Rule(NamedTuple):
    """Packets that arrive on `iif` are looked up in this table."""

    family: socket.AddressFamily
    table: int
    iif: str


def ours() -> set[Rule]:
    """Read the rules that `replace` made, here or in an earlier process."""
    return {
        Rule(family, message.get_attr("FRA_TABLE"), message.get_attr("FRA_IIFNAME"))
        for family in _RTNL_FAMILIES
        for message in _ask(family, RTM_GETRULE, _NLM_F_REQUEST_DUMP, [])
        if message.get_attr("FRA_PROTOCOL") == _PROTOCOL
    }


def replace(wanted: Iterable[Rule]) -> None:
    """Let these be all that is ours, with no touch to what stays. Needs CAP_NET_ADMIN."""
    wanted, present = set(wanted), ours()
    for rule in sorted(wanted - present):
        _change(rule, RTM_NEWRULE, _NLM_F_REQUEST_ACK | _NLM_F_CREATE_EXCL)
    for rule in sorted(present - wanted):
        _change(rule, RTM_DELRULE, _NLM_F_REQUEST_ACK)


def _change(rule: Rule, kind: int, flags: int) -> None:
    attributes = [
        ("FRA_TABLE", rule.table),
        ("FRA_IIFNAME", rule.iif),
        ("FRA_PRIORITY", _PRIORITY),
        ("FRA_PROTOCOL", _PROTOCOL),
    ]
    for _ in _ask(rule.family, kind, flags, attributes):
        pass


def _ask(
    family: socket.AddressFamily, kind: int, flags: int, attributes: list[tuple[str, Any]]
) -> Iterator[Any]:
    """Send a request; the messages that come back, until the kernel says that this is all."""
    request = fibmsg()
    request["header"] = {"type": kind, "flags": flags, "sequence_number": 1}
    request["family"] = _RTNL_FAMILIES[family]
    request["action"] = _FR_ACT_TO_TBL if attributes else 0
    request["attrs"] = attributes
    request.encode()
    marshal = MarshalRtnl()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        sock.send(request.data)
        while True:
            for message in marshal.parse(sock.recv(_MESSAGE)):
                if message["header"]["error"]:
                    number = message["header"]["error"].code
                    raise OSError(number, os.strerror(number))
                if message["header"]["type"] in (_NLMSG_ERROR, _NLMSG_DONE):
                    return
                yield message
