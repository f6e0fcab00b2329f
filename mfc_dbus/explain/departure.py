"""What the counters say of packets that arrived: by which interfaces they leave, and why not.

A counter of the entry, of a VIF or of an interface that stands still is certain: it would count the
stream too. Those of IPv4 are the whole machine's.
"""

from collections.abc import Collection, Iterator, Mapping

from mfc_dbus.explain import remedies
from mfc_dbus.explain.situation import Interface, Situation
from mfc_dbus.explain.snapshot import Rise
from mfc_dbus.explain.wording import packets, problem, stream
from mfc_dbus.model.addresses import Prefix
from mfc_dbus.model.findings import Code, Fact, Finding, Level
from mfc_dbus.model.quoting import join, quote

# A packet may be on its way while counters are read, and drivers count late: at least so small a
# part of what arrived must be missing.
_TABLE_SHARE = 100
_LINK_SHARE = 10

# The hooks of the firewall behind the table, and what counts what has passed them: IPv4 on the
# whole machine, IPv6 on the oif. Source: ipmr.c, ip_output.c; ip6mr.c, ip6_output.c.
_HOOKS = (
    (Code.FORWARD, "IpForwDatagrams", "Ip6OutForwDatagrams"),
    (Code.POSTROUTING, "IpExtOutMcastPkts", "Ip6OutMcastPkts"),
)
# Queues that are there to let no more pass than was set.
_SHAPERS = ("tbf", "htb", "hfsc", "cake", "netem")


def judge(situation: Situation, rise: Rise, troubled: Collection[str]) -> Iterator[Finding]:
    """Find by which interfaces a stream that arrives leaves, and why not by the others.

    troubled: those of which it is known already why nothing leaves.
    """
    looked_at = [oif for oif in situation.oifs if oif.name not in troubled]
    found = [(oif, _leaving(situation, rise, oif)) for oif in looked_at]
    yield from (finding for _, finding in found if finding is not None)
    flowing = [oif.name for oif, finding in found if finding is None]
    if flowing:
        yield _flowing(situation, rise, flowing)
        yield from (_unwanted(situation, oif) for oif in looked_at if not oif.wanted)


def _flowing(situation: Situation, rise: Rise, oifs: list[str]) -> Finding:
    assert situation.iif is not None
    rate = rise.packets / rise.seconds
    whose = ", from whatever source" if situation.any_source else ""
    return Finding(
        Code.FLOWING,
        Level.OK,
        f"{packets(rise.packets)} of {_counted(situation)} arrived on "
        f"{quote(situation.iif.name)} in {rise.seconds:.1f} s ({rate:.1f} a second{whose}), and "
        f"left by {join(oifs)}",
        evidence={
            "iif": situation.iif.name,
            "oifs": oifs,
            "packets": rise.packets,
            "packets-per-second": rate,
            "bits-per-second": 8 * rise.bytes / rise.seconds,
        },
    )


def _unwanted(situation: Situation, oif: Interface) -> Finding:
    group = situation.question.group
    return Finding(
        Code.SNOOPING_OIF,
        Level.NOTE,
        f"{quote(oif.name)} is a bridge that snoops on IGMP and MLD, and it knows nobody behind it "
        f"who has joined {group}: where a querier is, it keeps the stream from its ports",
        remedies.typed("bridge", "mdb", "show", "dev", oif.name),
        {"oif": oif.name},
    )


def _counted(situation: Situation) -> str:
    """Name what the kernel's entry counts."""
    question = situation.question
    if not situation.any_source:
        return stream(question)
    return stream(question._replace(source=Prefix(bytes(len(question.group.address)), 0)))


def _leaving(situation: Situation, rise: Rise, oif: Interface) -> Finding | None:
    """Find why not all packets that arrived left by an interface; None where they did."""
    out, sent = rise.out(oif.name), rise.sent(oif.name)
    facts: Mapping[str, Fact] = {
        "iif": situation.iif.name if situation.iif is not None else "",
        "oif": oif.name,
        "packets": rise.packets,
        "packets-out": out,
        "link-sent": sent,
    }
    if (rise.packets - out) * _TABLE_SHARE > rise.packets:
        return _kept_by_the_table(situation, rise, oif, facts)
    if sent < rise.packets and (
        _is_clear(rise, sent) or rise.queue_drops(oif.name) or rise.dropped(oif.name)
    ):
        return _lost_after_the_table(situation, rise, oif, facts)
    return None


def _is_clear(rise: Rise, sent: int) -> bool:
    """Tell whether so much is missing on an interface that it is lost rather than still to come."""
    lost = rise.packets - sent
    return not sent or (lost > 1 and lost * _LINK_SHARE > rise.packets)


def _kept_by_the_table(
    situation: Situation, rise: Rise, oif: Interface, facts: Mapping[str, Fact]
) -> Finding:
    route = situation.route
    assert route is not None
    kept = rise.packets - rise.out(oif.name)
    what = f"{kept} of {packets(rise.packets)} of {_counted(situation)} did not leave by"
    what = f"{what} {quote(oif.name)}"
    if situation.reverse.local and not rise.out(oif.name):
        # They are counted as if they had come by the iif (ip_mr_forward: "our own packet").
        return problem(
            Code.WRONG_SOURCE,
            f"{what}: {situation.question.source} is an address of this machine, and what it sends "
            "itself it forwards only if the route takes it from the interface by which it is sent",
            remedies.move(route, ""),
            facts,
        )
    too_big = rise.ipv4("IpFragFails")
    if too_big and not situation.question.is_ipv6:
        return problem(
            Code.TOO_BIG,
            f"{what}: they are longer than its MTU of {oif.details.mtu}, and must not be cut "
            "(probably: IPv4 counted that for the whole machine). Have the sender send shorter "
            "ones, or raise the MTU",
            remedies.typed("ip", "link", "set", "dev", oif.name, "mtu", "MTU"),
            {**facts, "mtu": oif.details.mtu, "fragments-failed": too_big},
        )
    if oif.ttl > 1:
        return problem(
            Code.TTL_THRESHOLD,
            f"{what}: the route has a TTL threshold of {oif.ttl} there, and their TTL is not "
            "greater",
            remedies.change(route, "--ttl", f"{oif.name}=1"),
            {**facts, "threshold": oif.ttl},
        )
    field = "hop limit" if situation.question.is_ipv6 else "TTL"
    return problem(
        Code.TTL_EXPIRED,
        f"{what}: they arrive with a {field} of 1, and a router lets none of these pass. Have the "
        f"sender send with a greater {field}: programs must set it, since multicast has 1 by "
        "default",
        "",
        facts,
    )


def _lost_after_the_table(
    situation: Situation, rise: Rise, oif: Interface, facts: Mapping[str, Fact]
) -> Finding:
    lost = rise.packets - rise.sent(oif.name)
    what = f"{lost} of {packets(rise.packets)} that the multicast table sent to {quote(oif.name)} "
    what += "did not leave there"
    if drops := rise.queue_drops(oif.name):
        kind = rise.queue_kind(oif.name)
        why, remedy = "the interface", ["-s", "qdisc", "show", "dev", oif.name]
        if kind in _SHAPERS:
            why, remedy = f"what {kind} is set to", ["qdisc", "del", "dev", oif.name, "root"]
        return problem(
            Code.QUEUE_FULL,
            f"{what}: its queue ({kind}) had no room for {packets(drops)}. What leaves there is "
            f"faster than {why}",
            remedies.typed("tc", *remedy),
            {**facts, "queue-drops": drops, "queue": kind},
        )
    if filtered := rise.filter_drops(oif.name):
        return problem(
            Code.EGRESS,
            f"{what}: filters of tc on that interface dropped {packets(filtered)}",
            remedies.typed("tc", "-s", "filter", "show", "dev", oif.name, "egress"),
            {**facts, "filter-drops": filtered},
        )
    if dropped := rise.dropped(oif.name):
        return problem(
            Code.NO_CARRIER,
            f"{what}: its driver dropped {packets(dropped)}, as where the other end is not up",
            remedies.typed("ip", "-s", "link", "show", "dev", oif.name),
            {**facts, "link-dropped": dropped},
        )
    if situation.question.is_ipv6:
        failed = rise.ipv6(oif.name, "Ip6FragFails")
        if failed:
            return problem(
                Code.TOO_BIG,
                f"{what}: they are longer than its MTU of {oif.details.mtu}, of which the kernel "
                "tells the sender. Have it send shorter ones, or raise the MTU",
                remedies.typed("ip", "link", "set", "dev", oif.name, "mtu", "MTU"),
                {**facts, "mtu": oif.details.mtu, "fragments-failed": failed},
            )
    return _dropped_at_a_hook(situation, rise, oif, what, facts)


def _dropped_at_a_hook(
    situation: Situation, rise: Rise, oif: Interface, what: str, facts: Mapping[str, Fact]
) -> Finding:
    """Find the first hook of the firewall that not all packets have passed."""
    is_ipv6 = situation.question.is_ipv6
    lost = rise.packets - rise.sent(oif.name)
    expected = rise.out(oif.name)
    if not is_ipv6:  # the machine's counters have the packets to each oif, and others
        expected = sum(rise.out(each.name) for each in situation.oifs)
    code = Code.EGRESS
    for hook, of_ipv4, of_ipv6 in _HOOKS:
        passed = rise.ipv6(oif.name, of_ipv6) if is_ipv6 else rise.ipv4(of_ipv4)
        facts = {**facts, f"{hook}-passed": passed}
        if 2 * (expected - passed) > lost:  # and not just one that is still on its way
            code = hook
            break
    sure = "" if is_ipv6 else " (probably: IPv4 counts for the whole machine)"
    return problem(
        code,
        f"{what}: a rule of the firewall at its {code} hook dropped them{sure}",
        remedies.typed("nft", "list", "ruleset"),
        facts,
    )
