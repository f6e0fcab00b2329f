"""Keeps each route where it belongs: in a store that outlives reboots, or in one that does not."""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from mfc_dbus.errors import StoreError
from mfc_dbus.model import Edit, Route, RouteKey
from mfc_dbus.store import Store

log = logging.getLogger(__name__)

_FILE = "routes.db"
_Changes = dict[RouteKey, Route | None]


class Keeper:
    """Two stores, written by a thread of their own, one commit after the other.

    One that cannot be opened makes its own routes fail, and no others.
    """

    def __init__(self, state: Path | None, runtime: Path | None) -> None:
        """state, runtime: directories; without one, its routes are kept nowhere."""
        with ExitStack() as stack:
            self._thread = stack.enter_context(ThreadPoolExecutor(1, "store"))
            # By whether a route is durable.
            self._stores = {
                durable: _open(stack, directory)
                for durable, directory in ((True, state), (False, runtime))
            }
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self) -> list[Route]:
        """Read what was kept; a store that cannot be read is left alone from now on."""
        durable, runtime = self._read(durable=True), self._read(durable=False)
        # What a crash left in both while it moved from one to the other is durable.
        twice: _Changes = dict.fromkeys(durable.keys() & runtime.keys())
        if twice:
            self._write_to(False, twice)
        return list((runtime | durable).values())

    async def write(self, edits: Mapping[RouteKey, Edit]) -> None:
        """Return when it is on disk. Raises StoreError, and has kept nothing."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._write, edits)

    def _read(self, *, durable: bool) -> dict[RouteKey, Route]:
        store = self._stores[durable]
        if not isinstance(store, Store):
            return {}
        try:
            return {route.key: route for route in store.read()}
        except StoreError as error:
            log.error("%s", error)
            self._stores[durable] = error
            return {}

    def _write(self, edits: Mapping[RouteKey, Edit]) -> None:
        # A route that moves to the other store is put there before it is deleted here: after a
        # crash in between it is in both, and never in none.
        first: dict[bool, _Changes] = {True: {}, False: {}}
        then: dict[bool, _Changes] = {True: {}, False: {}}
        for key, (old, new) in edits.items():
            if new is not None:
                first[new.durable][key] = new
            if old is not None and (new is None or new.durable != old.durable):
                (first if new is None else then)[old.durable][key] = None
        written: list[tuple[bool, _Changes]] = []
        try:
            for phase in (first, then):
                for durable, changes in phase.items():
                    if changes:
                        self._write_to(durable, changes)
                        written.append((durable, changes))
        except StoreError:
            for durable, changes in reversed(written):
                self._write_to(durable, {key: _was(edits[key].old, durable) for key in changes})
            raise

    def _write_to(self, durable: bool, changes: _Changes) -> None:
        store = self._stores[durable]
        if isinstance(store, StoreError):
            raise StoreError(str(store))
        if store is not None:
            store.write(changes)


def _was(route: Route | None, durable: bool) -> Route | None:
    return route if route is not None and route.durable == durable else None


def _open(stack: ExitStack, directory: Path | None) -> Store | StoreError | None:
    if directory is None:
        return None
    try:
        return stack.enter_context(Store(directory / _FILE))
    except StoreError as error:
        log.error("%s", error)
        return error
