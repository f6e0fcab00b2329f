"""Keeps routes and memberships where they belong: in a store that outlives reboots, or not."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from mfc_dbus.errors import StoreError
from mfc_dbus.model import Desired, Edit, Key
from mfc_dbus.store import Store

log = logging.getLogger(__name__)

_FILE = "routes.db"


class Keeper:
    """Two stores, written by a thread of their own, one commit after the other.

    One that cannot be opened makes what belongs there fail, and nothing else.
    """

    def __init__(self, state: Path | None, runtime: Path | None) -> None:
        """state, runtime: directories; without one, what belongs there is kept nowhere."""
        with ExitStack() as stack:
            self._thread = stack.enter_context(ThreadPoolExecutor(1, "store"))
            # By whether it holds what is durable.
            self._stores = {
                durable: _open(stack, directory)
                for durable, directory in ((True, state), (False, runtime))
            }
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self) -> list[Desired]:
        """Read what was kept; a store that cannot be read is left alone from now on."""
        self._finish_rest()
        return [*self._read(durable=True), *self._read(durable=False)]

    def forget(self, desired: Iterable[Desired]) -> None:
        """Delete what was kept before anything else is done. Raises StoreError."""
        self._write({each.key: Edit(each, None) for each in desired})

    async def write(self, edits: Mapping[Key, Edit]) -> None:
        """Return when it is on disk. Raises StoreError, and has kept nothing."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._write, edits)

    def _read(self, *, durable: bool) -> list[Desired]:
        store = self._stores[durable]
        if not isinstance(store, Store):
            return []
        try:
            return store.read()
        except StoreError as error:
            log.error("%s", error)
            self._stores[durable] = error
            return []

    def _finish_rest(self) -> None:
        state, runtime = self._stores[True], self._stores[False]
        if isinstance(state, Store) and isinstance(runtime, Store):
            try:
                runtime.finish(state.read_rest())
            except StoreError as error:
                log.error("%s", error)

    def _write(self, edits: Mapping[Key, Edit]) -> None:
        here: dict[bool, dict[Key, Desired | None]] = {True: {}, False: {}}
        for key, (old, new) in edits.items():
            if old is not None:
                here[old.durable][key] = None
            if new is not None:
                here[new.durable][key] = new
        stores = {durable: self._store(durable) for durable in here if here[durable]}
        state, runtime = stores.get(True), stores.get(False)
        if state and runtime:
            # One commit for both: after a crash in between, the next process finishes it.
            rest = runtime.rest(here[False])
            state.write(here[True], leaving=rest)
            try:
                runtime.finish(rest)
            except StoreError:
                state.write(
                    {key: _if_durable(edits[key].old) for key in here[True]},
                    leaving=runtime.rest({}),
                )
                raise
        elif state:
            state.write(here[True])
        elif runtime:
            runtime.write(here[False])

    def _store(self, durable: bool) -> Store | None:
        store = self._stores[durable]
        if isinstance(store, StoreError):
            raise StoreError(str(store))
        return store


def _if_durable(old: Desired | None) -> Desired | None:
    return old if old is not None and old.durable else None


def _open(stack: ExitStack, directory: Path | None) -> Store | StoreError | None:
    if directory is None:
        return None
    try:
        return stack.enter_context(Store(directory / _FILE))
    except StoreError as error:
        log.error("%s", error)
        return error
