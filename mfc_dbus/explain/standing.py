"""What keeps a stream from being forwarded and can be seen without counting a packet."""

from collections.abc import Iterator

from mfc_dbus.explain import remedies
from mfc_dbus.explain.rules import chosen_table
from mfc_dbus.explain.situation import STRICT, Interface, Situation, StreamQuestion
from mfc_dbus.explain.wording import SECOND, facts_of, name, problem, stream
from mfc_dbus.kernel.rules import DEFAULT_TABLES
from mfc_dbus.model.addresses import (
    is_link_local,
    is_local_group,
    is_multicast,
    refused_source,
)
from mfc_dbus.model.findings import Code, Fact, Finding, Level
from mfc_dbus.model.interfaces import matches
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.model.route import MAX_VIFS, Route

_LAST = 32767  # the preference of the kernel's own rule


def of_addresses(question: StreamQuestion) -> Iterator[Finding]:
    """Find what no route can change: addresses that are never forwarded."""
    source, group = question.source, question.group
    if not is_multicast(group):
        yield problem(
            Code.NOT_MULTICAST,
            f"{group} is no multicast group: those are 224.0.0.0/4 and ff00::/8",
            facts={"group": str(group)},
        )
        return
    if is_local_group(group.address):
        yield problem(
            Code.NEVER_FORWARDED,
            f"Group {group} is for one link alone (224.0.0.0/24; ff01:: and ff02::): no router "
            "forwards it. Have the sender use another group",
            facts={"group": str(group)},
        )
    elif source.length and is_link_local(source):
        yield problem(
            Code.NEVER_FORWARDED,
            f"Source {source} is an address of one link alone (fe80::/10): a router keeps its "
            "packets there (RFC 4007). Have the sender use another address",
            facts={"source": str(source)},
        )
    elif source.length and (reason := refused_source(source)):
        yield problem(
            Code.WRONG_SOURCE,
            f"Source {source} is {reason}, so the kernel drops its packets. Have the sender use "
            "an address of its own",
            facts={"source": str(source)},
        )


def of_table(situation: Situation) -> Iterator[Finding]:
    """Find that the kernel's table is not ours."""
    if situation.table_reason:
        yield problem(
            Code.TABLE_NOT_OURS,
            f"{situation.table_reason}, so nothing is forwarded by this service",
            "ss -wap",
            {"table": str(situation.question.table_id)},
        )


def of_route(situation: Situation) -> Iterator[Finding]:
    """Find that no route forwards the stream, or that one stops it."""
    question, route = situation.question, situation.route
    if route is None:
        if situation.disabled:
            first = situation.disabled[0]
            yield problem(
                Code.DISABLED,
                f"The route {name(first)} covers {stream(question)}, and it is disabled",
                remedies.change(first, "--enable"),
                facts_of(first),
            )
        else:
            yield _no_route(situation)
    elif not route.oifs:
        overridden = situation.overridden
        if overridden is None:
            more, remedy = "", remedies.change(route, "--add-oifs", "IF")
        else:
            more = f", and so overrides {name(overridden)}, which would forward it"
            remedy = remedies.delete(route)
        yield problem(
            Code.STOPPED,
            f"The route {name(route)} has no outgoing interface: it stops {stream(question)}{more}",
            remedy,
            facts_of(route),
        )


def _no_route(situation: Situation) -> Finding:
    question = situation.question
    arrived = next((each for each in situation.sightings if _is_of(question, each.source)), None)
    sentences = [f"No route covers {stream(question)}"]
    if question.iif:
        sentences[0] += f" where it arrives on {quote(question.iif)}"
    facts: dict[str, Fact] = {}
    if arrived is not None:
        sentences.append(f"It arrived on {quote(arrived.iif)} {arrived.ago / SECOND:.0f} s ago")
        facts["arrives-on"] = arrived.iif
    if situation.nearest:
        facts["nearest"] = [name(route) for route in situation.nearest]
        near = "; ".join(_differs(question, route) for route in situation.nearest)
        sentences.append(f"The nearest: {near}")
    iif = question.iif or (arrived.iif if arrived is not None else "")
    source = question.source
    if arrived is not None and not source.length:
        source = type(source)(arrived.source, 8 * len(arrived.source))
    return problem(
        Code.NO_ROUTE, ". ".join(sentences), remedies.add(question, source, iif, ()), facts
    )


def _is_of(question: StreamQuestion, source: bytes) -> bool:
    return not question.source.length or question.source.address == source


def _differs(question: StreamQuestion, route: Route) -> str:
    """Name a route, and what keeps it from covering the stream."""
    ways = []
    if not route.group.covers(question.group):
        ways.append("another group")
    if not route.source.covers(question.source):
        ways.append("another source")
    if not ways:
        ways.append(f"only from {quote(route.iif)}")
    return f"{name(route)}, {' and '.join(ways)}"


def of_arrival(situation: Situation) -> Iterator[Finding]:
    """Find what is wrong with the interface that the stream should arrive on."""
    route, iif = situation.route, situation.iif
    assert route is not None
    if iif is None or iif.link is None:
        missing = route.iif if iif is None else iif.name
        yield problem(
            Code.IIF_MISSING,
            f"There is no interface {quote(missing)}, on which {stream(situation.question)} should "
            "arrive",
            remedies.move(route, ""),
            {"iif": missing},
        )
        return
    if _has_no_room(situation, iif):
        yield _no_room(iif)
    yield from _of_link(situation, iif, "on which it should arrive")
    if iif.bridge:
        yield problem(
            Code.BRIDGE_PORT,
            f"Interface {quote(iif.name)} is a port of the bridge {quote(iif.bridge)}: what "
            "arrives there is received by the bridge",
            remedies.move(route, iif.bridge),
            {"iif": iif.name, "bridge": iif.bridge},
        )
    yield from _of_rules(situation, iif)


def of_reverse_path(situation: Situation) -> Iterator[Finding]:
    """Find that the reverse path filter would drop it, where nobody has counted what it drops."""
    source, iif, reverse = situation.question.source, situation.iif, situation.reverse
    if iif is not None and source.length and reverse.drops(iif.name):
        kind = "strict" if reverse.in_force == STRICT else "loose"
        way = f"by {quote(reverse.way)}" if reverse.way else "by no interface"
        yield Finding(
            Code.RP_FILTER,
            Level.NOTE,
            f"The reverse path filter on {quote(iif.name)} is {kind}, and the way back to {source} "
            f"leads {way}: it would drop what arrives there",
            remedies.no_rp_filter(iif.name, of_all=bool(reverse.of_all)),
            {"iif": iif.name, "rp-filter": reverse.in_force, "way-back": reverse.way},
        )


def of_departure(situation: Situation) -> Iterator[Finding]:
    """Find what is wrong with the interfaces by which the stream should leave."""
    route = situation.route
    assert route is not None
    if not situation.oifs and (situation.question.oif or not situation.left_out):
        yield from _without_oifs(situation, route)
    for oif in situation.oifs:
        if oif.link is None:
            yield problem(
                Code.OIF_MISSING,
                f"There is no interface {quote(oif.name)}, by which {stream(situation.question)} "
                "should leave",
                remedies.change(route, "--remove-oifs", oif.name, "--add-oifs", "IF"),
                {"oif": oif.name},
            )
        elif _has_no_room(situation, oif):
            yield _no_room(oif)
        else:
            yield from _of_link(situation, oif, "by which it should leave")
    told = any(_has_no_room(situation, each) for each in situation.interfaces.values())
    if situation.left_out and not told:
        yield _left_out(situation)


def _without_oifs(situation: Situation, route: Route) -> Iterator[Finding]:
    """Find why a stream leaves by none of the interfaces of its route, or not by the one asked of.

    Nothing where the iif is missing: no pattern stands for any interface then.
    """
    question, iif = situation.question, situation.iif
    if oif := question.oif:
        facts = {"oif": oif, **facts_of(route)}
        if not any(matches(each.name, oif) for each in route.oifs):
            sentence = f"The route {name(route)} does not leave by {quote(oif)}"
            yield problem(
                Code.OIF_MISSING, sentence, remedies.change(route, "--add-oifs", oif), facts
            )
        elif iif is not None and iif.name == oif:
            yield problem(
                Code.OIF_MISSING,
                f"{stream(question)} arrives on {quote(oif)}, and the route {name(route)} does not "
                "let it leave where it arrives",
                remedies.change(route, "--hairpin"),
                facts,
            )
        else:
            yield problem(
                Code.OIF_MISSING,
                f"Interface {quote(oif)}, by which {stream(question)} should leave, is missing, is "
                "not up, or has no room in the kernel's table",
                remedies.typed("ip", "link", "show", "dev", oif),
                facts,
            )
    elif iif is not None and iif.link is not None:
        oifs = [oif.name for oif in route.oifs]
        but = f" but for {quote(iif.name)}, where it arrives"
        yield problem(
            Code.OIF_MISSING,
            f"{stream(question)} leaves nowhere: no interface that {join(oifs)} matches is up"
            f"{but if any(matches(oif, iif.name) for oif in oifs) else ''}",
            remedies.change(route, "--add-oifs", "IF"),
            {"oifs": oifs, **facts_of(route)},
        )


def _of_link(situation: Situation, interface: Interface, role: str) -> Iterator[Finding]:
    link = interface.link
    assert link is not None
    if not link.enabled:
        yield problem(
            Code.INTERFACE_DOWN,
            f"Interface {quote(link.name)}, {role}, is down",
            remedies.typed("ip", "link", "set", "dev", link.name, "up"),
            {"interface": link.name},
        )
    elif not link.up:
        yield problem(
            Code.NO_CARRIER,
            f"Interface {quote(link.name)}, {role}, has no carrier: its cable, or the other end, "
            "is not up",
            facts={"interface": link.name},
        )
    if not interface.has_ipv6 and situation.question.is_ipv6:
        yield problem(
            Code.OIF_IPV6_DISABLED,
            f"IPv6 is switched off on {quote(link.name)}, {role}: its packets vanish there",
            remedies.sysctl(f"net/ipv6/conf/{link.name}/disable_ipv6=0"),
            {"interface": link.name},
        )


def _of_rules(situation: Situation, iif: Interface) -> Iterator[Finding]:
    """Find that another of the kernel's tables is looked at for what arrives on the iif."""
    question = situation.question
    if situation.rules is None:
        return
    chosen = chosen_table(situation.rules, iif.name, situation.tables)
    ip = "ip -6" if question.is_ipv6 else "ip"
    if chosen is None:
        table = question.table or DEFAULT_TABLES[question.group.family]
        yield problem(
            Code.MRULE,
            f"No rule (ip mrule) leads what arrives on {quote(iif.name)} to a table: the kernel "
            "drops it",
            f"{ip} mrule add table {table} preference {_LAST}",
            {"iif": iif.name},
        )
        return
    if chosen.sure and chosen.table == question.table:
        return
    if question.table:
        if question.table in chosen.considered:
            return
        yield problem(
            Code.TABLE_NOT_CHOSEN,
            f"The route is in table {question.table}, and no rule (ip mrule) leads what arrives on "
            f"{quote(iif.name)} there",
            f"{ip} mrule add {remedies.typed('iif', iif.name)} table {question.table}",
            {"iif": iif.name, "table": question.table},
        )
    elif chosen.sure:
        where = "drops it" if chosen.table is None else f"leads it to table {chosen.table}"
        yield problem(
            Code.MRULE,
            f"A rule of preference {chosen.priority} (ip mrule) {where}, before the default table "
            "is looked at",
            f"{ip} mrule del preference {chosen.priority}",
            {"iif": iif.name, "preference": chosen.priority},
        )


def _has_no_room(situation: Situation, interface: Interface) -> bool:
    return situation.crowded and not interface.vif


def _no_room(interface: Interface) -> Finding:
    return problem(
        Code.NO_ROOM,
        f"The kernel knows {MAX_VIFS} interfaces a table, and {quote(interface.name)} would be one "
        "more: delete or disable routes until one of the others has none left",
        "mfc-dbus-cli show interfaces",
        {"interface": interface.name},
    )


def _left_out(situation: Situation) -> Finding:
    """Tell of interfaces that the route's patterns are for and the kernel's table lacks."""
    route = situation.route
    assert route is not None
    return Finding(
        Code.NO_ROOM,
        Level.NOTE if situation.oifs else Level.PROBLEM,
        f"Of the route {name(route)} not all is in the kernel. {situation.left_out}",
        "mfc-dbus-cli show interfaces",
        {"left-out": situation.left_out},
    )
