"""What root adds to an explanation: packets before the firewall, its rules, owners of a table."""

import shlex
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from mfc_dbus.model.findings import Code, Level
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.quoting import quote
from mfc_dbus.names import ANY_SOURCE

if TYPE_CHECKING:
    from mfc_dbus.cli.arriving import Arrived
    from mfc_dbus.client import FindingInfo
    from mfc_dbus.model.addresses import Prefix

_BY_FIREWALLS = (Code.INGRESS, Code.PREROUTING, Code.FORWARD, Code.POSTROUTING, Code.EGRESS)


async def add(
    ask: "Callable[[], Awaitable[Sequence[FindingInfo]]]",
    asked: tuple[str, str],
    seconds: int,
) -> "Sequence[FindingInfo]":
    """Return the findings with what root sees of them.

    ask: asks the service, which watches for so many seconds, and says so of a source or group that
    is none. asked: source and group, as they were typed. Where the service says that nothing
    arrives, it is asked once more while packets are counted here, so that both speak of the same
    time.
    """
    from mfc_dbus.model.addresses import FAMILY_NAMES, parse_asked

    found = [*await ask()]
    source, group = parse_asked(*asked)
    family = FAMILY_NAMES[group.family]
    if seconds and _is_unseen(found):
        found = await _with_arrivals(ask, found, source, group, seconds)
    if not found:
        return []
    first, *others = found
    added: list[FindingInfo] = []
    if first.code == Code.TABLE_NOT_OURS:
        first, *added = _with_owners(first, family)
    if first.code in _BY_FIREWALLS:
        first, *added = _with_rules(first, source, group)
    return [first, *added, *others]


def _is_unseen(found: "Sequence[FindingInfo]") -> bool:
    """Tell whether the service saw the stream on no interface that it can name."""
    if not found:
        return False
    unnamed = found[0].code == Code.WRONG_INTERFACE and "arrives-on" not in found[0].evidence
    return unnamed or found[0].code == Code.NOTHING_ARRIVES


async def _with_arrivals(
    ask: "Callable[[], Awaitable[Sequence[FindingInfo]]]",
    found: "list[FindingInfo]",
    source: "Prefix",
    group: "Prefix",
    seconds: int,
) -> "list[FindingInfo]":
    """Tell apart what the service cannot: whether the stream arrives at all, and where."""
    from mfc_dbus.cli import arriving

    iif = str(found[0].evidence.get("iif", ""))
    if iif not in (name for _, name in socket.if_nameindex()):
        return found  # the service is in another network namespace
    sender = _sender(found[0], source)
    counts: list[Arrived] = []

    def count() -> None:
        with suppress(OSError):  # maybe root of a container, without CAP_NET_RAW
            counts.append(arriving.count(sender, group.address, seconds))

    before = _received(group.family, iif)
    counting = threading.Thread(target=count, daemon=True)
    counting.start()
    first, *others = again = [*await ask()] or found
    counting.join()
    taken = _received(group.family, iif) - before
    if not counts or not _is_unseen(again) or first.evidence.get("iif") != iif:
        return again  # it may have begun meanwhile
    return [_judged(first, group, counts[0], taken, seconds), *others]


def _received(family: socket.AddressFamily, interface: str) -> int:
    """Return the packets that passed the ingress hook; 0 where that is not known.

    Those of IPv4 are the whole machine's.
    """
    from mfc_dbus.kernel import counters

    with suppress(OSError):
        if family == socket.AF_INET6:
            return counters.ipv6(interface).get("Ip6InReceives", 0)
        return counters.ipv4().get("IpInReceives", 0)
    return 0


def _judged(
    finding: "FindingInfo", group: "Prefix", arrived: "Arrived", taken: int, seconds: int
) -> "FindingInfo":
    """Say what was counted here of a stream of which the service saw nothing.

    taken: how many packets, of any kind, passed the ingress hook meanwhile.
    """
    iif = str(finding.evidence["iif"])
    counted, strange = arrived
    evidence = {**finding.evidence, "arrived": counted[iif]}
    if here := counted[iif]:
        code, hook = Code.PREROUTING, "prerouting"
        if taken < here:
            code, hook = Code.INGRESS, "ingress"
        return finding._replace(
            code=code,
            sentence=f"{here} packets arrived on {quote(iif)} in {seconds} s, and the multicast "
            f"table got none of them: a rule of the firewall at its {hook} hook dropped them",
            remedy="nft list ruleset",
            evidence=evidence,
        )
    if foreign := strange[iif]:
        return finding._replace(
            code=Code.OTHERHOST,
            sentence=f"{foreign} packets arrived on {quote(iif)} in {seconds} s in frames that are "
            "addressed to another machine, and not to the group: whoever sends them, or a device "
            "on the way, writes a wrong MAC address",
            remedy=shlex.join(["tcpdump", "-neni", iif, "dst", str(group)]),
            evidence={**evidence, "arrived-for-others": foreign},
        )
    if counted:
        name, count = counted.most_common(1)[0]
        wrong = finding.code == Code.WRONG_INTERFACE
        return finding._replace(
            code=finding.code if wrong else Code.ARRIVES_ELSEWHERE,
            sentence=f"{count} packets arrived on {quote(name)} in {seconds} s, and none on "
            f"{quote(iif)}, from which the route takes them",
            remedy=_move(finding, name),
            evidence={**evidence, "arrives-on": name},
        )
    return finding._replace(
        sentence=f"No packet of the stream arrived in {seconds} s, on {quote(iif)} or on any other "
        f"interface. {finding.sentence}",
        evidence=evidence,
    )


def _sender(finding: "FindingInfo", asked: "Prefix") -> bytes:
    """Return the packed source whose packets count; empty for any.

    Where none was asked about, the service may have taken the only one that routes name.
    """
    from mfc_dbus.model.addresses import parse_source_prefix

    named = str(finding.evidence.get("route-source", ANY_SOURCE))
    source = asked
    if not asked.length and named != ANY_SOURCE:
        source = parse_source_prefix(named)
    return source.address if source.length and source.exact else b""


def _move(finding: "FindingInfo", iif: str) -> str:
    """Write the command that has the route take its stream from another interface."""
    facts = finding.evidence
    stream = [str(facts.get("route-source", ANY_SOURCE)), str(facts.get("route-group", ""))]
    words = ["--source", stream[0], "--group", stream[1]]
    if table := facts.get("route-table"):
        words += ["--table", str(table)]
    old = str(facts.get("route-iif", ""))
    if ANY_SOURCE in stream or "/" in "".join(stream):
        words += ["--iif", old]
    # What arrives on an interface may not leave there.
    if (
        iif in facts.get("route-oifs", ())
        and not facts.get("route-hairpin")
        and not is_pattern(old)
    ):
        words += ["--remove-oifs", iif]
    return shlex.join(["mfc-dbus-cli", "mfc", "change", *words, "--to-iif", iif])


def _with_owners(finding: "FindingInfo", family: str) -> "list[FindingInfo]":
    """Add who has the table, and how to end that where it is one process."""
    from mfc_dbus.cli.raw_sockets import holders

    held = holders(family)
    if not held:
        return [finding]
    if len(held) == 1:
        unit = held[0].unit
        stop = ["systemctl", "stop", unit] if unit else ["kill", str(held[0].pid)]
        finding = finding._replace(remedy=shlex.join(stop))
    named = [f"{quote(each.name)} (process {each.pid})" for each in held]
    note = finding._replace(
        level=Level.NOTE,
        sentence=f"Such a socket is held by {', '.join(named)}",
        remedy="",
        evidence={"processes": [str(each.pid) for each in held]},
    )
    return [finding, note]


def _with_rules(finding: "FindingInfo", source: "Prefix", group: "Prefix") -> "list[FindingInfo]":
    """Add what could drop the stream at the hooks of a finding, and how to let it pass there."""
    from mfc_dbus.cli import dropping
    from mfc_dbus.cli.firewall import Packet

    iif, oif = (str(finding.evidence.get(name, "")) for name in ("iif", "oif"))
    packet = Packet(_sender(finding, source), group.address, iif, oif)
    rules = dropping.find(packet, finding.code)
    if rules is None:
        return [finding]
    sentence = f"What could drop it there: {'; '.join(each.sentence for each in rules)}"
    if rules:
        finding = finding._replace(remedy=rules[0].remedy)
    else:
        sentence = "Neither nft nor iptables nor tc lists what could drop it there: look at BPF"
        sentence += " and XDP programs"
    names = [each.words for each in rules]
    note = finding._replace(level=Level.NOTE, sentence=sentence, remedy="")
    return [finding, note._replace(evidence={"rules": names})]
