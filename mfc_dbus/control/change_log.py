"""Logs each change of routes and memberships, and what becomes of them; of many at once some."""

import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice

from mfc_dbus.model import journal
from mfc_dbus.model.cause import BY_START, Cause
from mfc_dbus.model.journal import Message, Record
from mfc_dbus.model.quoting import printable
from mfc_dbus.model.status import MembershipStatus, Status

log = logging.getLogger(__name__)

# Lines a second. The journal takes 10,000 in 30 seconds of a service, and then nothing more.
_MOST_STATES = 10
_MOST_CHANGES = 250


class ChangeLog:
    """Counts what it logs in a second, and says how much it has left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._states = self._changes = 0  # in this second

    def note(
        self,
        cause: Cause,
        before: Status | MembershipStatus | None,
        now: Status | MembershipStatus | None,
    ) -> None:
        """Log what has become of a route or membership. before, now: None where there is none."""
        self.sum_up()
        if before is not None and now is not None and before[0] == now[0]:
            self._states += 1
            if self._states > _MOST_STATES:
                return
        else:
            self._changes += 1
            if self._changes > _MOST_CHANGES:
                return
        write(journal.record(cause, before, now))

    def sum_up(self) -> None:
        """Log how many were left out, if the second has passed in which any were."""
        second = int(self._clock())
        if second == self._second:
            return
        if self._states > _MOST_STATES:
            write(
                journal.left_out(
                    self._states - _MOST_STATES, "routes or memberships have another state"
                )
            )
        if self._changes > _MOST_CHANGES:
            write(
                journal.left_out(
                    self._changes - _MOST_CHANGES, "routes or memberships were changed"
                )
            )
        self._second = second
        self._states = self._changes = 0


def log_restored(
    routes: Iterable[Status], memberships: Iterable[MembershipStatus], counts: tuple[int, int]
) -> None:
    """Log with how many routes and memberships the service has started, and with which first."""
    if not any(counts):
        return
    named = zip(counts, ("route", "membership"), strict=True)
    text = " and ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in named)
    more = dict(zip(("ROUTES", "MEMBERSHIPS"), ([str(count)] for count in counts), strict=True))
    write(Record(Message.SUMMARY, f"Restored {text}", BY_START, more=more))
    for route in islice(routes, _MOST_CHANGES):
        write(journal.restored(BY_START, route))
    for membership in islice(memberships, _MOST_CHANGES):
        write(journal.restored(BY_START, membership))
    rest = sum(max(count - _MOST_CHANGES, 0) for count in counts)
    if rest:
        write(journal.left_out(rest, "routes or memberships were restored"))


def write(record: Record, level: int = logging.INFO) -> None:
    """Log a record: the journal gets its values, too."""
    log.log(level, "%s", printable(record.sentence), extra={"about": record})
