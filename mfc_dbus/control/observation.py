"""Gathers what Explain judges: routes and interfaces as they are, and the counters of a moment.

Reads, and changes nothing. What the kernel is asked beyond the tables is read in a thread of its
own, since there may be thousands of interfaces.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from mfc_dbus.config.settings import CurrentSettings
from mfc_dbus.control.deciding import (
    covering,
    decide,
    disabled,
    entry_key,
    equals,
    leaving,
    nearest,
)
from mfc_dbus.explain.situation import Interface, ReversePath, Situation, StreamQuestion
from mfc_dbus.explain.snapshot import Snapshot
from mfc_dbus.kernel import counters, groups, link_details, mdb, queues, rules, sysctls, unicast
from mfc_dbus.kernel.link_details import Details
from mfc_dbus.kernel.links import Link
from mfc_dbus.kernel.mroute import SGCount, VIFCount
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.loop.worker import aside
from mfc_dbus.model.addresses import Family, Prefix
from mfc_dbus.model.errors import InvalidArgs, RequestError
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.quoting import join
from mfc_dbus.model.route import MAX_VIFS, Oif, Route, TableId
from mfc_dbus.model.status import Sighting
from mfc_dbus.routing.placement import LearnedRoute
from mfc_dbus.routing.table import Table, find_table

_MOST_CANDIDATES = 1000  # routes that share a stream, of which few decide
_MOST_NAMED = 3

_Present = Mapping[str, Link]


class Observer:
    """Looks at one stream, and counts its packets."""

    def __init__(
        self,
        tables: Mapping[TableId, Table],
        present: _Present,
        seen: Callable[[TableId, bytes], Sequence[Sighting]],
        settings: CurrentSettings,
    ) -> None:
        """present: the interfaces that there are. seen: see `Upcalls.seen`."""
        self._tables = tables
        self._present = present
        self._seen = seen
        self._settings = settings

    def check(self, question: StreamQuestion) -> None:
        """Raise InvalidArgs where the question names a table that there is not."""
        find_table(self._tables, question.table_id)

    async def look(self, question: StreamQuestion) -> Situation:
        """Find what is known of a stream. Others are served in between.

        Raises InvalidArgs for a group whose routes have several sources, where none was named; and
        for one that several any-source routes are for, where no iif was.
        """
        table = find_table(self._tables, question.table_id)
        if not question.source.length:
            question = question._replace(source=await self._only_source(table, question))
        sightings = [
            each
            for each in self._seen(question.table_id, question.group.address)
            if question.iif in ("", each.iif)
        ]
        candidates = [*islice(covering(table, question), _MOST_CANDIDATES)]
        route, iif = decide(table, question, candidates, sightings)
        if route is not None and not question.iif:
            iifs = equals(table, question, route)
            if len(iifs) > 1:
                raise InvalidArgs(
                    f"Say which iif is meant: there are any-source routes of {question.group} from "
                    f"{join(iifs, _MOST_NAMED)}"
                )
        found = Situation(
            question,
            table_reason=table.reason,
            route=route,
            disabled=[*islice(disabled(table, question), _MOST_NAMED)],
            sightings=sightings,
            tables=[each.number for each in self._tables if each.family == table.id.family],
            crowded=len(table.vifs) >= MAX_VIFS,
            learned_are_full=len(table.learned) >= self._settings.now.max_learned,
        )
        if route is None:
            return found._replace(nearest=await nearest(table, question))
        wider = candidates[candidates.index(route) + 1 :] if route in candidates else []
        overridden = next((each for each in wider if each.oifs), None)
        placed = table.installed.get(route.key)
        used = {vif.name for vif in table.vifs}
        oifs = [oif for oif in leaving(route, placed, iif) if question.oif in ("", oif.name)]
        entry = entry_key(table, question, route)
        found = found._replace(
            overridden=overridden,
            left_out=table.left_out.get(route.key, ""),
            any_source=entry is not None and not any(entry[0]),
            is_learned=isinstance(placed, LearnedRoute),
        )
        return await aside(
            _read_situation, found, iif, oifs, used, dict(self._links(iif, oifs)), self._names()
        )

    async def count(self, question: StreamQuestion, *, first: bool) -> Snapshot:
        """Count at this moment. first: the entry is read last, and otherwise first: see `Rise`."""
        table = find_table(self._tables, question.table_id)
        if not first:
            entry, vifs = _entry_count(table, question), _vif_counts(table)
        names = {vif.ifindex: vif.name for vif in table.vifs}
        found = await aside(_read_counters, question.group.family, names)
        if first:
            vifs, entry = _vif_counts(table), _entry_count(table, question)
        return found._replace(entry=entry, vifs=vifs)

    async def _only_source(self, table: Table, question: StreamQuestion) -> Prefix:
        """Return the source of the only routes for a group, where none is for any source."""
        if next(covering(table, question), None) is not None:
            return question.source
        sources: dict[Prefix, None] = {}
        async for route in in_slices([*table.routes]):
            if route.group == question.group and question.iif in ("", route.iif):
                sources[route.source] = None
        if len(sources) > 1:
            raise InvalidArgs(
                f"Say which source is meant: there are routes of {question.group} from "
                f"{join(map(str, sources), _MOST_NAMED)}"
            )
        only = next(iter(sources), question.source)
        return only if only.exact else question.source

    def _links(self, iif: str, oifs: Sequence[Oif]) -> Iterator[tuple[str, Link]]:
        for name in (iif, *(oif.name for oif in oifs)):
            if name in self._present:
                yield name, self._present[name]

    def _names(self) -> Mapping[int, str]:
        return {link.ifindex: name for name, link in self._present.items()}


# What the kernel says


def _entry_count(table: Table, question: StreamQuestion) -> SGCount | None:
    """Count what came by the entry that has a stream.

    Of several any-source entries that differ in their iif, only the interface tells them apart: it
    counts other groups too.
    """
    route = next(covering(table, question), None)
    if route is None:
        return None
    key = entry_key(table, question, route)
    with suppress(OSError, RequestError):  # it was deleted, or the table given up
        if key is not None:
            return table.kernel.sg_count(*key)
        if isinstance(table.installed.get(route.key), Route) and route.iif in table.vifs:
            count = table.kernel.vif_count(table.vifs[route.iif].number)
            return SGCount(count.packets_in, count.bytes_in, 0)
    return None


def _vif_counts(table: Table) -> Mapping[str, VIFCount]:
    found = {}
    for vif in table.vifs:
        with suppress(OSError, RequestError):  # its device has gone
            found[vif.name] = table.kernel.vif_count(vif.number)
    return found


def _read_situation(
    found: Situation,
    iif: str,
    oifs: Sequence[Oif],
    used: set[str],
    links: _Present,
    names: Mapping[int, str],
) -> Situation:
    """Add what the kernel tells of interfaces, settings and rules; other threads run meanwhile."""

    def interface(name: str, ttl: int = 1) -> Interface:
        link = links.get(name)
        if link is None:
            return Interface(name, vif=False, ttl=ttl)
        details, has_ipv6 = Details(), True
        with suppress(OSError):
            details = link_details.details(link.ifindex)
        if family == Family.AF_INET6:
            with suppress(OSError):
                has_ipv6 = sysctls.has_ipv6(name)
        bridge, wanted = names.get(details.bridge, ""), True
        if details.snoops:
            with suppress(OSError):
                wanted = group in mdb.groups(link.ifindex)
        return Interface(name, link, details, bridge, name in used, has_ipv6, ttl, wanted)

    family, group = found.question.group.family, found.question.group.address
    arriving = None if is_pattern(iif) else interface(iif)
    joined, chosen = False, None
    if arriving is not None and arriving.link is not None:
        with suppress(OSError):
            joined = (group, arriving.link.ifindex) in groups.held()
    with suppress(OSError):
        chosen = rules.of_all(family)
    return found._replace(
        iif=arriving,
        oifs=[interface(*oif) for oif in oifs],
        reverse=_reverse_path(found.question, iif, names),
        joined=joined,
        rules=chosen,
    )


def _reverse_path(question: StreamQuestion, iif: str, names: Mapping[int, str]) -> ReversePath:
    family = question.group.family
    of_all = of_iif = 0
    if family == Family.AF_INET:
        with suppress(OSError):
            of_all, of_iif = sysctls.rp_filter(iif)
    way = 0
    if question.source.length:
        with suppress(OSError):
            way = unicast.way_to(family, question.source.address)
    return ReversePath(of_all, of_iif, names.get(way, ""), local=way == unicast.LOCAL)


def _read_counters(family: Family, names: Mapping[int, str]) -> Snapshot:
    """Read what the kernel counts beyond its multicast tables. names: of interfaces with a VIF."""
    found = Snapshot()
    with suppress(OSError):
        found = found._replace(links=counters.links())
    with suppress(OSError):
        if family == Family.AF_INET:
            found = found._replace(ipv4=counters.ipv4())
        else:
            ipv6 = {name: counters.ipv6(name) for name in names.values()}
            found = found._replace(ipv6=ipv6)
    with suppress(OSError):
        drops = {names[at]: count for at, count in queues.drops().items() if at in names}
        found = found._replace(drops=drops)
    return found
