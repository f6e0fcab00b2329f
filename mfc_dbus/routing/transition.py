"""A table's way from some desired routes to others, done in the kernel whole or not at all.

What follows from a change is part of it: routes whose kind is another now, and learned entries.
"""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple, Self

from mfc_dbus.kernel.links import Link
from mfc_dbus.model.errors import KernelError, TooManyInterfaces
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.route import MAX_VIFS, Route, RouteKey
from mfc_dbus.routing.doubt import removing_doubt
from mfc_dbus.routing.learned_entries import follow
from mfc_dbus.routing.placement import (
    Learned,
    LearnedRoute,
    Placement,
    narrow,
    place,
    say_left_out,
)
from mfc_dbus.routing.present_links import PresentLinks
from mfc_dbus.routing.steps import AddVif, DelVif, Step, plan, uses
from mfc_dbus.routing.table import Kernel, Table
from mfc_dbus.routing.vifs import Vifs


class Transition(NamedTuple):
    """A change from old routes of a table to new ones.

    keeps_desired: the old and new routes are the same, and desired already: only how much of them
        is in the kernel may change, and no other route changes its kind.
    """

    table: Table
    old: Sequence[Route]
    new: Sequence[Route]
    keeps_desired: bool = False

    @classmethod
    def again(cls, table: Table, routes: Sequence[Route]) -> Self:
        """Make the transition of desired routes to what the interfaces now allow of them."""
        return cls(table, routes, routes, keeps_desired=True)

    def desire(self) -> None:
        """Make the new routes the desired ones."""
        if self.keeps_desired:
            return
        before = {route.key: route for route in self.old}
        for route in self.old:
            self.table.routes.remove(route)
        for route in self.new:
            if route.key in before:
                route.share_key(before[route.key])
            self.table.routes.put(route)

    @property
    def keys(self) -> Iterable[RouteKey]:
        """The keys of its routes, each once."""
        return dict.fromkeys(route.key for route in (*self.old, *self.new))

    @property
    def back(self) -> "Transition":
        """The transition that undoes this one."""
        return self._replace(old=self.new, new=self.old)


class _Planned(NamedTuple):
    """The keys of what was placed before, what is placed and learned then, and the way there."""

    steps: Sequence[Step]
    vifs: Vifs
    old: Sequence[RouteKey]
    placed: Mapping[RouteKey, Placement]
    left_out: Mapping[RouteKey, str]
    learned: Mapping[RouteKey, Learned | None]
    evicted: Sequence[RouteKey] = ()


def check_transition(transition: Transition, present: PresentLinks) -> None:
    """Raise what can be told beforehand: TableBusy, KernelError, TooManyInterfaces."""
    table, old, new, _ = transition
    lacking = any(name not in table.vifs for route in new for name in route.interfaces)
    if lacking:
        _plan(table, [route.key for route in old], new, present)
    elif any(route.enabled for route in new):
        table.check_owned()


def install(
    transitions: Sequence[Transition], present: PresentLinks, *, evicting: bool = True
) -> list[RouteKey]:
    """Desire the new routes, and put into the kernel what can be there with these interfaces.

    evicting: these are all that there are. Then interfaces that routes name may take the room of
    those that are wanted by patterns alone. Returns the routes beside these that had to give up
    some. Raises TableBusy, TooManyInterfaces and KernelError; then all is as it was.
    """
    for transition in transitions:
        transition.desire()
    try:
        planned = [
            (each.table, _plan_all(each, present, evicting=evicting)) for each in transitions
        ]
        _install(planned)
        return [key for _, each in planned for key in each.evicted]
    except Exception:
        for transition in reversed(transitions):
            transition.back.desire()
        raise


def add_vif(table: Table, link: Link) -> None:
    """Give an interface a VIF that no route uses. Raises OSError, or KernelError as
    `removing_doubt` does; then all is as it was.
    """
    vifs = table.vifs.copy()
    vifs.acquire(link.name, link.ifindex, 0)
    add = AddVif(vifs[link.name].number, link.ifindex)
    doubted = removing_doubt(table, [add])
    for step in (*doubted, add):
        step.do(table.kernel)
    table.vifs = vifs
    if doubted:
        table.doubtful = frozenset()


def _install(planned: Sequence[tuple[Table, _Planned]]) -> None:
    done: list[tuple[Kernel, Step]] = []
    undoubted: list[Table] = []
    removals = [removing_doubt(table, each.steps) for table, each in planned]
    try:
        for (table, each), doubted in zip(planned, removals, strict=True):
            steps = [*doubted, *each.steps]
            if not steps:
                continue  # the kernel of a table that is not ours may not even be asked for
            kernel = table.kernel
            for step in steps:
                step.do(kernel)
                done.append((kernel, step))
            if doubted:
                undoubted.append(table)
    except OSError as error:
        raise _undo(done, error) from error
    for table in undoubted:
        table.doubtful = frozenset()
    for table, each in planned:
        table.vifs = each.vifs
        table.written += len(each.steps)
        for key in each.old:
            table.installed.pop(key, None)
            table.left_out.pop(key, None)
        table.installed.update(each.placed)
        table.left_out.update(each.left_out)
        for stream, learned in each.learned.items():
            if learned is None:
                table.learned.remove(stream)
            else:
                table.learned.put(learned)


def _plan_all(transition: Transition, present: PresentLinks, *, evicting: bool) -> _Planned:
    """Plan a transition that is desired already, with all that follows from it."""
    table, new = transition.table, transition.new
    keys = [route.key for route in transition.old]
    if not transition.keeps_desired:
        others = _of_another_kind(transition)
        keys += others
        new = [*new, *others.values()]
    streams: dict[RouteKey, None] = {}
    if table.learned:
        for key in keys:
            streams |= dict.fromkeys(table.learned.of(key))
        for route in new:
            streams |= dict.fromkeys(table.learned.within(route))
    return _plan(table, keys, new, present, tuple(streams), evicting=evicting)


def _of_another_kind(transition: Transition) -> dict[RouteKey, Route]:
    """Find the routes that do not change, and whose kind does, since those of a transition do."""
    table, old, new, _ = transition
    changed: set[RouteKey] = set()
    found: dict[RouteKey, Route] = {}
    for key in table.routes.native_routes.may_change_kind_with(old, new):
        installed = table.installed.get(key)
        if installed is None or key in found:
            continue
        changed = changed or {route.key for route in (*old, *new)}
        route = table.routes.get(key)
        if key in changed or route is None:
            continue
        if isinstance(installed, LearnedRoute) == table.routes.native_routes.native(route):
            found[key] = route
    return found


def _plan(
    table: Table,
    old: Sequence[RouteKey],
    new: Sequence[Route],
    present: PresentLinks,
    streams: Sequence[RouteKey] = (),
    *,
    evicting: bool = True,
    evicted: Set[str] = frozenset(),
) -> _Planned:
    """Plan the way from old routes to new ones.

    streams: the learned streams whose entries may have to change. evicted: interfaces that only
    patterns want, and that get no VIF.
    """
    if any(route.enabled for route in new):
        table.check_owned()
    placed, left_out = _place(table, new, present, evicted)
    going = set(old)

    def placement(key: RouteKey) -> Placement | None:
        return placed.get(key) or (None if key in going else table.installed.get(key))

    learned = {stream: follow(table.routes, table.learned[stream], placement) for stream in streams}
    before = [
        *(table.installed[key] for key in old if key in table.installed),
        *(table.learned[stream] for stream in streams),
    ]
    after = [*placed.values(), *(each for each in learned.values() if each is not None)]
    names = _interfaces(after)
    all_have_vifs = all(name in table.vifs for name in names)  # as mostly: then there is room
    choosing = evicting and not all_have_vifs
    named = _named(route for route in new if route.key in placed) if choosing else set()
    if choosing and (chosen := _to_evict(table, names, named, before, going)):
        others = _holding(table, chosen, going | placed.keys())
        keys = [*old, *others]
        affected = dict.fromkeys(streams)
        for key in others:
            affected |= dict.fromkeys(table.learned.of(key))
        routes = [*new, *others.values()]
        whole = _plan(table, keys, routes, present, tuple(affected), evicting=False, evicted=chosen)
        return whole._replace(evicted=[*others])
    ifindexes = {name: present[name].ifindex for name in names}
    vifs = table.vifs.copy()
    leaving: list[Step] = []
    with_room = vifs
    if not all_have_vifs:
        leaving = [DelVif(vif.number, vif.ifindex) for vif in vifs.make_room(names)]
        with_room = vifs.copy()
    try:
        steps = plan(vifs, ifindexes, before, after)
    except TooManyInterfaces:
        # There may be room when what is in `before` alone was removed first.
        vifs = with_room
        between = _common(before, after)
        steps = [*plan(vifs, ifindexes, before, between), *plan(vifs, ifindexes, between, after)]
    return _Planned([*leaving, *steps], vifs, old, placed, left_out, learned)


def _common(
    before: Sequence[Placement | Learned], after: Sequence[Placement | Learned]
) -> list[Placement | Learned]:
    """Reduce each entry to what it has both before and after, on interfaces that stay."""
    keys = {each.key for each in after}
    names = _interfaces(after)
    staying = [each for each in before if each.key in keys]
    placed = [narrow(each, names) for each in staying if not isinstance(each, Learned)]
    # Learned entries hold no VIF themselves, but the routes that they follow do.
    placed_on = _interfaces(each for each in placed if each is not None)
    changing = {each.key for each in before}
    learned = [
        narrow(each, placed_on) if each.owner in changing else each
        for each in staying
        if isinstance(each, Learned)
    ]
    return [each for each in (*placed, *learned) if each is not None]


def _place(
    table: Table, routes: Sequence[Route], present: PresentLinks, evicted: Set[str]
) -> tuple[dict[RouteKey, Placement], dict[RouteKey, str]]:
    """Place routes. Return their placements, and by key why some interfaces were left out.

    Interfaces that a route names go before those that only a pattern wants, and interfaces with a
    VIF before those without.
    """
    placed: dict[RouteKey, Placement] = {}
    left_out: dict[RouteKey, str] = {}
    taken = {vif.name for vif in table.vifs if vif.references and vif.name not in evicted}
    preferred = taken | evicted

    def place_now(route: Route) -> Placement | None:
        native = table.routes.native_routes.native(route)
        return place(route, present, native=native, preferred=preferred)

    wanted: list[Route] = []
    fitting: set[tuple[str, ...]] = set()  # those that are there, and have VIFs
    for route in routes:
        if route.interfaces in fitting and route.is_sg_on_one_iif:
            placed[route.key] = route
            continue
        possible = place_now(route)
        if possible is not None:
            placed[route.key] = possible
            interfaces = possible.interfaces
            if not taken.issuperset(interfaces):
                wanted.append(route)
            elif possible is route:
                fitting.add(interfaces)
    for route in wanted:
        interfaces = placed[route.key].interfaces
        if not taken.issuperset(interfaces):
            taken |= _named([route]).intersection(interfaces)
            preferred |= taken
    for route in wanted:
        if taken.issuperset(placed[route.key].interfaces):
            continue
        possible = place_now(route)  # anew, since more are preferred by now
        too_many = _without_room(route, possible.interfaces, taken, evicted) if possible else ()
        if possible is not None and too_many:
            staying = {*possible.interfaces}.difference(too_many)
            left_out[route.key] = (
                f"The kernel knows {MAX_VIFS} interfaces a table: "
                f"{say_left_out(route, present, staying)} left out"
            )
            possible = narrow(possible, staying)
        if possible is None:
            del placed[route.key]
            continue
        placed[route.key] = possible
        taken.update(possible.interfaces)
        preferred |= taken
    return placed, left_out


def _without_room(
    route: Route, interfaces: Iterable[str], taken: Set[str], evicted: Set[str]
) -> tuple[str, ...]:
    """Return the interfaces that a pattern of the route alone wants, and that get no VIF."""
    named = _named([route])
    more = [name for name in interfaces if name not in taken and name not in named]
    out = [name for name in more if name in evicted]
    fitting = [name for name in more if name not in evicted]
    return (*out, *fitting[max(MAX_VIFS - len(taken), 0) :])


def _to_evict(
    table: Table,
    names: Set[str],
    named: Set[str],
    before: Sequence[Placement | Learned],
    changing: Set[RouteKey],
) -> frozenset[str]:
    """Choose interfaces that only patterns want, which lose their VIFs to those that are named.

    names: the interfaces of what is placed after the change. named: those of them that routes name.
    before: what the change replaces, by the keys in `changing`. Nothing is chosen where there is
    room, or where it would not be enough. The last ones in the order of names are chosen first.
    """
    if len(table.vifs.used | names) <= MAX_VIFS:
        return frozenset()
    going = uses(before)
    staying = {vif.name for vif in table.vifs if vif.references > going.get(vif.name, 0)}
    lacking = len(staying | names) - MAX_VIFS
    if lacking <= 0:
        return frozenset()
    loose = sorted(
        name for name in (staying | names) - named if not table.is_named(name, but=changing)
    )
    return frozenset(loose[-lacking:]) if len(loose) >= lacking else frozenset()


def _holding(table: Table, names: Set[str], but: Set[RouteKey]) -> dict[RouteKey, Route]:
    """Find the routes that are installed on some of these interfaces."""
    return {
        route.key: route
        for name in names
        for route in table.routes.naming(name)
        if route.key not in but
        and route.key in table.installed
        and name in table.installed[route.key].interfaces
    }


def _named(routes: Iterable[Route]) -> set[str]:
    """Return the interfaces that routes have by their names, and not by a pattern alone."""
    return {name for name in _interfaces(routes) if not is_pattern(name)}


def _interfaces(routes: Iterable[Placement | Learned]) -> set[str]:
    """Return the interfaces of routes; very many routes have the same ones."""
    return {name for names in {each.interfaces for each in routes} for name in names}


def _undo(done: Sequence[tuple[Kernel, Step]], error: OSError) -> KernelError:
    sentence = f"The kernel refused: {os.strerror(error.errno or 0)}"
    for kernel, step in reversed(done):
        try:
            step.undo(kernel)
        except OSError as second:
            # The other steps may still be undone, and each that is makes one thing right again.
            cause = os.strerror(second.errno or 0)
            sentence += f"; and it refused to take back {step}: {cause}"
    return KernelError(sentence)
