"""When Python may look for garbage: not while many routes are made, nor ever among them.

A look at all there is takes the longer the more there is, and nobody is served meanwhile. Routes
are in no circles, so they go without it.
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_MANY = 5_000  # objects: to look at them takes some milliseconds
_MOST = 30_000  # objects that are looked at again and again


def bound() -> None:
    """From now on look at what has stayed only once it was found to stay, if that is much."""
    gc.callbacks.append(_freeze_many)


def _freeze_many(phase: str, info: Mapping[str, int]) -> None:
    full = phase == "stop" and info["generation"] == 2
    if full and len(gc.get_objects(generation=2)) > _MOST:
        gc.freeze()


class _Holders:
    """Who has the look held off: Python's switch is one for all, and works overlap."""

    count = 0


@contextmanager
def held_off() -> Iterator[None]:
    """Have no look meanwhile; and if much was made, never one at what there is then.

    Several works may do so at once, and end in any order: the look is back with the last.
    """
    gc.disable()
    _Holders.count += 1
    try:
        yield
    finally:
        _Holders.count -= 1
        if gc.get_count()[0] > _MANY:
            gc.freeze()
        if not _Holders.count:
            gc.enable()
