"""What the counters say where the kernel's entry counted no packet: where the stream stays.

Counters of the entry and of interfaces are certain. Those of IPv4 are the whole machine's.
"""

from collections.abc import Iterator
from itertools import islice

from mfc_dbus.explain import remedies
from mfc_dbus.explain.rules import chosen_table
from mfc_dbus.explain.situation import STRICT, Situation
from mfc_dbus.explain.snapshot import Rise
from mfc_dbus.explain.wording import SECOND, facts_of, packets, problem, senders, stream
from mfc_dbus.model.addresses import host_prefix
from mfc_dbus.model.findings import Code, Fact, Finding, Level
from mfc_dbus.model.quoting import join, quote

_MOST_NAMED = 3
# Packets of an unresolved entry. It tells nobody how many it holds: neither its dump nor
# /proc/net/ip_mr_cache counts them (ipmr_cache_unresolved, mr_fill_mroute, ipmr_mfc_seq_show).
_MOST_HELD = 4


def judge(situation: Situation, rise: Rise) -> Finding:
    """Find why the kernel's entry counted no packet on the iif."""
    for look in _LOOKS:
        finding = look(situation, rise)
        if finding is not None:
            return finding
    return _nothing(situation, rise)


def _on_another_interface(situation: Situation, rise: Rise) -> Finding | None:
    route, iif = situation.route, situation.iif
    assert route is not None
    assert iif is not None
    elsewhere = min(situation.elsewhere, key=lambda each: each.ago, default=None)
    if rise.wrong:
        where = "another interface"
        facts: dict[str, Fact] = {
            "iif": iif.name,
            "wrong-interface-packets": rise.wrong,
            **facts_of(route),
        }
        if elsewhere is not None:
            where = quote(elsewhere.iif)
            facts["arrives-on"] = elsewhere.iif
        return problem(
            Code.WRONG_INTERFACE,
            f"{packets(rise.wrong)} of {stream(situation.question)} arrived on {where} in "
            f"{rise.seconds:.1f} s and none on {quote(iif.name)}, from which the route takes them",
            remedies.move(route, elsewhere.iif if elsewhere is not None else ""),
            facts,
        )
    if elsewhere is not None:
        return problem(
            Code.ARRIVES_ELSEWHERE,
            f"{stream(situation.question)} arrived on {quote(elsewhere.iif)} "
            f"{elsewhere.ago / SECOND:.0f} s ago, and nothing of it on {quote(iif.name)}, from "
            "which the route takes it",
            remedies.move(route, elsewhere.iif),
            {"iif": iif.name, "arrives-on": elsewhere.iif},
        )
    return None


def _at_ingress(situation: Situation, rise: Rise) -> Finding | None:
    """Find that filters of tc drop what arrives; they may drop what leaves there, too."""
    iif = situation.iif
    assert iif is not None
    dropped = min(rise.filter_drops(iif.name), rise.received(iif.name))
    if not dropped:
        return None
    return problem(
        Code.INGRESS,
        f"Filters of tc on {quote(iif.name)} dropped {packets(dropped)} in {rise.seconds:.1f} s, "
        f"probably those of {stream(situation.question)} as they arrived: the multicast table got "
        "none",
        remedies.typed("tc", "-s", "filter", "show", "dev", iif.name, "ingress"),
        {"iif": iif.name, "filter-drops": dropped},
    )


def _filtered(situation: Situation, rise: Rise) -> Finding | None:
    """Find what IPv4 counts as it drops it on arrival."""
    iif, question, reverse = situation.iif, situation.question, situation.reverse
    assert iif is not None
    if situation.question.is_ipv6:
        return None
    if (dropped := rise.ipv4("TcpExtIPReversePathFilter")) and _may_be_filtered(situation):
        kind = "strict" if reverse.in_force == STRICT else "loose"
        if question.source.length:
            whose = str(question.source)
            way = f"by {quote(reverse.way)}" if reverse.way else "by no interface"
            why = f"the way back to {whose} leads {way}"
        else:
            whose, why = (
                "the source",
                "the way back to the source is not known, as it was not named",
            )
        return problem(
            Code.RP_FILTER,
            f"The reverse path filter ({kind} on {quote(iif.name)}) probably drops it: {why}, and "
            f"such filters dropped {packets(dropped)} on the whole machine. Give {whose} a route "
            f"by {quote(iif.name)}, or switch the filter off",
            remedies.no_rp_filter(iif.name, of_all=bool(reverse.of_all)),
            {
                "iif": iif.name,
                "dropped": dropped,
                "rp-filter": reverse.in_force,
                "rp-filter-all": reverse.of_all,
                "way-back": reverse.way,
            },
        )
    if bad := rise.ipv4("IpExtInCsumErrors"):
        return problem(
            Code.CHECKSUM,
            f"{packets(bad)} arrived with a wrong checksum of the IP header (on the whole "
            "machine), and nothing of the stream without: its sender, or a device on the way, "
            "writes it wrong",
            remedies.watch(question, iif.name).replace("-ni", "-vni", 1),
            {"iif": iif.name, "checksum-errors": bad},
        )
    if reverse.local:
        return problem(
            Code.WRONG_SOURCE,
            f"Source {question.source} is an address of this machine itself: what arrives from it "
            "is dropped. Have the sender use an address of its own",
            "",
            {"iif": iif.name, "source": str(question.source)},
        )
    return None


def _may_be_filtered(situation: Situation) -> bool:
    """Tell whether the reverse path filter drops the stream, or may: of any source nobody knows."""
    reverse = situation.reverse
    if situation.iif is None or not situation.question.source.length:
        return bool(reverse.in_force)
    return reverse.drops(situation.iif.name)


def _of_another_source(situation: Situation, rise: Rise) -> Finding | None:
    route, iif, question = situation.route, situation.iif, situation.question
    assert route is not None
    assert iif is not None
    others = situation.other_sources
    if not question.source.length or not others:
        return None
    sources = senders(others)
    first = host_prefix(others[0].source)
    return problem(
        Code.SOURCE_DIFFERS,
        f"Nothing of {stream(question)} arrived on {quote(iif.name)} in {rise.seconds:.1f} s, and "
        f"others send to this group there: {join(sources, _MOST_NAMED)}",
        remedies.add(question, first, iif.name, [oif.name for oif in route.oifs]),
        {"iif": iif.name, "sources": sources[:20]},
    )


def _not_learned(situation: Situation, rise: Rise) -> Finding | None:
    """Find that a stream has no entry yet, where it has to be learned."""
    iif, question = situation.iif, situation.question
    assert iif is not None
    ago = min((each.ago for each in situation.sightings if each.iif == iif.name), default=None)
    if ago is None or not situation.is_learned or rise.after.entry is not None:
        return None
    what = f"{stream(question)} arrives on {quote(iif.name)} and has no entry of the kernel"
    if situation.learned_are_full:
        return problem(
            Code.LIMIT,
            f"{what}: as many streams are learned as the settings allow. Raise 'learned' under "
            "[limits] there",
            "mfc-dbus-cli show learned",
            {"iif": iif.name},
        )
    return Finding(
        Code.LEARNING,
        Level.NOTE,
        f"{what} yet. The kernel asked about it {ago / SECOND:.0f} s ago, and asks again when 10 "
        f"s have passed; meanwhile it holds the first packets, {_MOST_HELD} at most",
        "",
        {"iif": iif.name, "seconds": ago / SECOND, "held-at-most": _MOST_HELD},
    )


def _by_a_rule(situation: Situation, rise: Rise) -> Finding | None:
    """Find that packets reach multicast routing, and may be looked up in another table."""
    iif, question = situation.iif, situation.question
    assert iif is not None
    chosen = chosen_table(situation.rules, iif.name, situation.tables)
    counted = rise.ipv4("IpExtInMcastPkts")
    if question.is_ipv6:
        counted = rise.ipv6(iif.name, "Ip6InMcastPkts")
    if chosen is None or chosen.sure or not counted:
        return None
    ip = "ip -6" if question.is_ipv6 else "ip"
    remedy = f"{ip} mrule show"
    if len(chosen.unsure) == 1:
        remedy = f"{ip} mrule del preference {chosen.unsure[0]}"
    return problem(
        Code.MRULE,
        f"{packets(counted)} reached multicast routing, and the entry of {stream(question)} "
        "counted none of them: a rule for a table of another program, or for a mark, probably "
        f"leads them elsewhere. '{remedies.watch(question, iif.name)}' shows whether any is of "
        "this stream",
        remedy,
        {"iif": iif.name, "multicast-received": counted},
    )


def _nothing(situation: Situation, rise: Rise) -> Finding:
    question, iif, route = situation.question, situation.iif, situation.route
    assert iif is not None
    assert route is not None
    received = rise.received(iif.name)
    facts: dict[str, Fact] = {
        "iif": iif.name,
        "link-received": received,
        "joined": situation.joined,
        **facts_of(route),
    }
    causes = "there is no sender, or a switch withholds it"
    if received:
        arrived = f"Of {packets(received)} that arrived on {quote(iif.name)} in"
        arrived = f"{arrived} {rise.seconds:.1f} s none was seen to be of {stream(question)}"
        causes += ", or a rule of the firewall drops it on arrival: "
        causes += f"'{remedies.watch(question, iif.name)}' shows it in the last case alone"
    else:
        arrived = f"Nothing at all arrived on {quote(iif.name)} in {rise.seconds:.1f} s"
        others = list(islice(_busy(situation, rise), _MOST_NAMED))
        if others:
            facts["received-on"] = others
            causes += f"; meanwhile packets arrived on {join(others)}"
    joined = "is joined there" if situation.joined else "is not joined there"
    remedy = remedies.watch(question, iif.name)
    if not situation.joined:
        remedy = remedies.join(question, iif.name)
    return problem(
        Code.NOTHING_ARRIVES,
        f"{arrived}: {causes}. Group {question.group} {joined}",
        remedy,
        facts,
    )


# In the order of how certain they are.
_LOOKS = (
    *(_on_another_interface, _filtered, _at_ingress),
    *(_of_another_source, _not_learned, _by_a_rule),
)


def _busy(situation: Situation, rise: Rise) -> Iterator[str]:
    """Return the interfaces on which packets arrived, without those of the route."""
    ours = situation.interfaces
    for name in rise.after.links:
        if name not in ours and name != "lo" and rise.received(name):
            yield name
