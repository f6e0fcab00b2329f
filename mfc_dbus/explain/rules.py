"""Which of the kernel's tables a packet is looked up in, by the rules of `ip mrule`."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from mfc_dbus.kernel.rules import AnyRule


class Chosen(NamedTuple):
    """The table of the first rule that is for a packet; None where that rule drops it.

    sure: whether nothing else of the packet decides. considered: the tables of this rule and those
    that may come before it. unsure: the preferences of the latter.
    """

    table: int | None
    priority: int
    sure: bool
    considered: frozenset[int | None]
    unsure: Sequence[int]


def chosen_table(
    rules: Sequence[AnyRule] | None, iif: str, tables: Collection[int]
) -> Chosen | None:
    """Find the first rule that is for what arrives on an interface; None where none is.

    tables: those that are there. A rule for another one counts only if some program has that.
    """
    considered: set[int | None] = set()
    unsure: list[int] = []
    for rule in rules or ():
        may = _selects(rule, iif)
        if may is False:
            continue
        if rule.table is not None and rule.table not in tables:
            may = None
        considered.add(rule.table)
        if may:
            return Chosen(
                rule.table, rule.priority, not unsure, frozenset(considered), tuple(unsure)
            )
        unsure.append(rule.priority)
    return None


def _selects(rule: AnyRule, iif: str) -> bool | None:
    """Return whether a rule is for a packet; None where something unknown of it decides."""
    matches = rule.iif in ("", iif)
    if rule.selects_more and matches:
        return None
    return matches != rule.inverted
