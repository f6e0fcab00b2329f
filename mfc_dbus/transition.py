"""A table's way from some desired routes to others, done in the kernel whole or not at all."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.errors import KernelError
from mfc_dbus.kernel.links import Link
from mfc_dbus.model import Route
from mfc_dbus.plan import AddVif, ChangeEntry, Step, entry, plan
from mfc_dbus.table import Kernel, Table
from mfc_dbus.vifs import Vifs


class Transition(NamedTuple):
    """From the old routes to the new. With the same on both sides: to what interfaces now allow."""

    table: Table
    old: Sequence[Route]
    new: Sequence[Route]

    def desire(self) -> None:
        """Make the new routes the desired ones."""
        for route in self.old:
            self.table.routes.remove(route)
        for route in self.new:
            self.table.routes.put(route)

    @property
    def back(self) -> "Transition":
        return Transition(self.table, self.new, self.old)


class _Planned(NamedTuple):
    steps: Sequence[Step]
    vifs: Vifs
    installed: Sequence[Route]


def check(transition: Transition, present: Mapping[str, Link]) -> None:
    """Raise what can be told beforehand: TableBusy, KernelError, TooManyInterfaces."""
    _plan(transition, present)


def install(transitions: Sequence[Transition], present: Mapping[str, Link]) -> None:
    """Put of the new routes into the kernel what can be there with these interfaces.

    Raises TableBusy, TooManyInterfaces and KernelError; then the kernel is as it was.
    """
    planned = [_plan(transition, present) for transition in transitions]
    done: list[tuple[Kernel, Step]] = []
    try:
        for (table, _, _), each in zip(transitions, planned, strict=True):
            for step in (*_removing_doubt(table, each.steps), *each.steps):
                step.do(table.kernel)
                done.append((table.kernel, step))
    except OSError as error:
        raise _undo(done, error) from error
    for (table, old, _), each in zip(transitions, planned, strict=True):
        table.vifs = each.vifs
        table.written += len(each.steps)
        for route in old:
            table.installed.pop(route.key, None)
        for route in each.installed:
            table.installed[route.key] = route


def _plan(transition: Transition, present: Mapping[str, Link]) -> _Planned:
    table, old, new = transition
    if new:
        table.check_owned()
    before = [table.installed[route.key] for route in old if route.key in table.installed]
    possible = (route.over(present) for route in new)
    after = [route for route in possible if route is not None]
    names = {name for route in after for name in route.interfaces}
    ifindexes = {name: present[name].ifindex for name in names}
    vifs = table.vifs.copy()
    return _Planned(plan(vifs, ifindexes, before, after), vifs, after)


def _removing_doubt(table: Table, steps: Sequence[Step]) -> Iterator[Step]:
    if any(isinstance(step, AddVif) and step.vif in table.doubtful for step in steps):
        for route in table.installed.values():
            wanted = entry(route, table.vifs)
            yield ChangeEntry(wanted, wanted)
        table.doubtful = frozenset()


def _undo(done: Sequence[tuple[Kernel, Step]], error: OSError) -> KernelError:
    sentence = f"The kernel refused: {os.strerror(error.errno or 0)}"
    for kernel, step in reversed(done):
        try:
            step.undo(kernel)
        except OSError as second:
            # The one after it may still succeed, and each one that does is one less that is wrong.
            cause = os.strerror(second.errno or 0)
            sentence += f"; and it refused to take back {step}: {cause}"
    return KernelError(sentence)
