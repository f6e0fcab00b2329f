"""Routes that are to be looked at again, some at a time, where many are at once (pure).

They wait in batches, one for each cause. The batches take turns, so that a small one is not held up
by a large one; and what concerns few routes does not wait at all.
"""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from mfc_dbus.model.route import RouteKey, TableId

FEW = 100  # routes that are looked at at once
CHUNK = 30  # routes of one turn: some milliseconds

_Cause = tuple[TableId, Hashable]


class Turn(NamedTuple):
    """Routes of a table that are looked at together, and as how many usual ones they count."""

    table: TableId
    keys: Sequence[RouteKey]
    weight: int


class Backlog:
    def __init__(self) -> None:
        # Weights. A plain dict would be slow where its first key is taken again and again.
        self._few: dict[TableId, OrderedDict[RouteKey, int]] = {}
        self._many: dict[_Cause, _Batch] = {}  # the one whose turn it is first

    def __bool__(self) -> bool:
        return bool(self._few or self._many)

    def add(
        self, id_: TableId, cause: Hashable, keys: Collection[RouteKey], weight: int = 1
    ) -> None:
        """Queue routes of a table; a route that is queued already is looked at once all the same.

        weight: how many times as long as usual it takes to look at one of these.
        """
        if len(keys) * weight > FEW:
            self._many.setdefault((id_, cause), _Batch()).add([*keys], max(1, CHUNK // weight))
        elif keys:
            self._few.setdefault(id_, OrderedDict()).update(dict.fromkeys(keys, weight))

    def take_few(self) -> Turn | None:
        """Take the next routes of small batches."""
        for id_, waiting in self._few.items():
            keys: list[RouteKey] = []
            total = 0
            while waiting and total < CHUNK:
                key, weight = waiting.popitem(last=False)
                keys.append(key)
                total += weight
            if not waiting:
                del self._few[id_]
            return Turn(id_, keys, total)
        return None

    def take_many(self) -> Turn | None:
        """Take the next routes of the large batch whose turn it is."""
        while self._many:
            cause = next(iter(self._many))
            batch = self._many.pop(cause)
            taken = batch.take()
            if taken:
                self._many[cause] = batch
                return Turn(cause[0], taken, CHUNK)
        return None


class _Batch:
    """Routes of one cause, in rounds.

    Those that are added last wait for the end of the present round, in place of those that waited:
    who adds routes for a cause adds all that it concerns.
    """

    def __init__(self) -> None:
        self._going: Iterator[RouteKey] = iter(())
        self._next: Sequence[RouteKey] = ()
        self._chunk = 1

    def add(self, keys: Sequence[RouteKey], chunk: int) -> None:
        self._next = keys
        self._chunk = chunk

    def take(self) -> list[RouteKey]:
        taken = list(islice(self._going, self._chunk))
        if not taken and self._next:
            self._going, self._next = iter(self._next), ()
            taken = list(islice(self._going, self._chunk))
        return taken
