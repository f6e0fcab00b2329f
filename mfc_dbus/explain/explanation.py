"""Puts findings in the order of a packet's way, the one that decides first."""

from mfc_dbus.explain import arrival, departure, standing
from mfc_dbus.explain.situation import Situation
from mfc_dbus.explain.snapshot import Rise
from mfc_dbus.model.findings import Finding


def explain(situation: Situation, rise: Rise | None) -> list[Finding]:
    """Return what was found: first what decides. Nothing is wrong to be seen where that is nothing.

    rise: how much the counters rose; None where nobody watched them, so that nothing can be said of
    packets.
    """
    for look in (standing.of_table, standing.of_route):
        if found := [*look(situation)]:
            return found
    arrives = rise is not None and rise.packets > 0
    # What flows in spite of a finding was not stopped by it.
    of_arrival = [] if arrives else [*standing.of_arrival(situation)]
    of_departure = [*standing.of_departure(situation)]
    if rise is None:
        return [*of_arrival, *of_departure, *standing.of_reverse_path(situation)]
    if of_arrival:
        return of_arrival + of_departure
    if not arrives:
        return [arrival.judge(situation, rise), *of_departure]
    troubled = {str(value) for each in of_departure for value in each.evidence.values()}
    return [*of_departure, *departure.judge(situation, rise, troubled)]
