"""Routes that are to be looked at again, some at a time, where many are at once (pure).

They wait in batches, one for each cause. The batches take turns, so that a small one is not held up
by a large one; and what concerns few routes does not wait at all.
"""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import islice

from mfc_dbus.model.route import RouteKey, TableId

FEW = 100  # routes that are looked at at once
CHUNK = 30  # routes of one turn: some milliseconds

_Cause = tuple[TableId, Hashable]


class Backlog:
    def __init__(self) -> None:
        # From which the first is taken again and again, which takes a plain dict long.
        self._few: dict[TableId, OrderedDict[RouteKey, None]] = {}
        self._many: dict[_Cause, _Batch] = {}  # the one whose turn it is first

    def __bool__(self) -> bool:
        return bool(self._few or self._many)

    def add(
        self, id_: TableId, cause: Hashable, keys: Collection[RouteKey], weight: int = 1
    ) -> None:
        """Have routes of a table looked at, once after this however often it is said.

        weight: how many times as long as another it takes to look at one of them.
        """
        if len(keys) * weight > FEW:
            self._many.setdefault((id_, cause), _Batch()).add([*keys], max(1, CHUNK // weight))
        elif keys:
            self._few.setdefault(id_, OrderedDict()).update(dict.fromkeys(keys))

    def take_few(self) -> tuple[TableId, list[RouteKey]] | None:
        """Take the next routes of small batches."""
        for id_, keys in self._few.items():
            taken = [keys.popitem(last=False)[0] for _ in range(min(CHUNK, len(keys)))]
            if not keys:
                del self._few[id_]
            return id_, taken
        return None

    def take_many(self) -> tuple[TableId, list[RouteKey]] | None:
        """Take the next routes of the large batch whose turn it is."""
        while self._many:
            cause = next(iter(self._many))
            batch = self._many.pop(cause)
            taken = batch.take()
            if taken:
                self._many[cause] = batch
                return cause[0], taken
        return None


class _Batch:
    """Routes that are gone through to the end, before it begins anew: so each has its turn."""

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
