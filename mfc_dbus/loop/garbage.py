"""When Python's garbage collector may run: not while many routes are made, nor ever among them.

A collection takes the longer the more objects there are, and nobody is served meanwhile. Routes
refer to each other in no circles, so reference counts alone free them.
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_MANY = 5_000  # objects: to look at them takes some milliseconds
_MOST = 30_000  # objects that are looked at again and again


def bound() -> None:
    """From now on exempt what survived a full collection from later ones, if that is much."""
    gc.callbacks.append(_freeze_many)


def _freeze_many(phase: str, info: Mapping[str, int]) -> None:
    full = phase == "stop" and info["generation"] == 2
    if full and len(gc.get_objects(generation=2)) > _MOST:
        gc.freeze()


class _Holders:
    """How many hold the collector off: Python has one switch for all, and their times overlap."""

    count = 0


@contextmanager
def held_off() -> Iterator[None]:
    """Keep the collector from running meanwhile; if much was made, exempt it from then on.

    Several may hold it off at once and end in any order: it runs again after the last.
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
