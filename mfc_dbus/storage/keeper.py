"""Keeps routes and memberships: those that outlive a reboot, and those that end with it.

All are in one database, so that a change of both is one commit. Those that are not durable carry
the name of this life of the machine, which is in a file in $RUNTIME_DIRECTORY and goes with it.
Only while $STATE_DIRECTORY cannot be written are they in a database in $RUNTIME_DIRECTORY.
"""

import asyncio
import logging
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.route import Desired, Edit, Key
from mfc_dbus.storage import set_aside as files
from mfc_dbus.storage.store import Store

log = logging.getLogger(__name__)

_FILE = "routes.db"
_LIFE = "life"
_LENGTH = 16
_NAME = re.compile(rb"[0-9a-f]{16}")
_FIRST_WAIT, _LAST_WAIT = 1.0, 60.0  # seconds until a store that failed is tried again
_Kept = dict[Key, Desired]


class Keeper:
    """One store, written by a thread of its own, one commit after the other."""

    def __init__(self, state: Path | None, runtime: Path | None) -> None:
        """state, runtime: directories; without one, what belongs there is kept nowhere."""
        self._runtime = runtime
        self._life = _life(runtime)
        self._store: Store | None = None
        self._refusal = ""  # of what is durable: why it cannot be written
        self._known = False  # whether what is durable was read
        self._wait = _FIRST_WAIT
        self._timer: asyncio.TimerHandle | None = None
        with ExitStack() as stack:
            self._thread = stack.enter_context(ThreadPoolExecutor(1, "store"))
            self._state = self._open(stack, state)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self) -> list[Desired]:
        """Read what was kept, once. A store that cannot be read is left alone from now on."""
        state = self._state
        durable, passing = self._read_state()
        left = self._open_left(state)
        if left:
            passing = self._read_left(left, state, passing)
        if state and not self._refusal and left:
            try:
                state.take_in(passing.values(), left.identity)
            except StoreError as error:
                self._refuse(error)
        if state and not self._refusal:
            self._store = state
            if left:
                _remove(left)
        elif self._runtime:
            self._store = left or self._begin_left(state, passing)
        return [*durable.values(), *passing.values()]

    def forget(self, desired: Iterable[Desired]) -> None:
        """Delete what was kept before anything else is done. Raises StoreError."""
        self._write({each.key: Edit(each, None) for each in desired})

    async def write(self, edits: Mapping[Key, Edit]) -> None:
        """Return when it is on disk. Raises StoreError, and has kept nothing."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._write, edits)
        finally:
            self._mend_later(loop)

    def _mend_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Try again by itself to take back what was refused, where the disk did not let us."""
        store = self._store
        if not (store and store.doubtful):
            self._wait = _FIRST_WAIT
        elif self._timer is None:
            self._timer = loop.call_later(self._wait, self._mend, loop, store)
            self._wait = min(2 * self._wait, _LAST_WAIT)

    def _mend(self, loop: asyncio.AbstractEventLoop, store: Store) -> None:
        def mended(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and not future.exception():
                log.info("%s can be written again", store.path)
            self._timer = None
            self._mend_later(loop)

        loop.run_in_executor(self._thread, store.mend).add_done_callback(mended)

    def _write(self, edits: Mapping[Key, Edit]) -> None:
        store = self._store
        changes = {key: new for key, (_, new) in edits.items()}
        if store is not self._state or store is None:
            # It holds nothing that is durable.
            if self._refusal and any(each and each.durable for e in edits.values() for each in e):
                self._return_to_state()
                self._write(edits)
                return
            changes = {key: None if new and new.durable else new for key, new in changes.items()}
        if store and changes:
            store.write(changes)

    def _return_to_state(self) -> None:
        """Keep everything where it belongs again. Raises StoreError where that still cannot be."""
        state, left = self._state, self._store
        if state is None or not self._known:
            raise StoreError(self._refusal)
        if state.refusal:
            state.open_again()
        if left:
            passing = [each for each in left.read() if not each.durable]
            state.take_in(passing, left.identity)
            _remove(left)
        self._store, self._refusal = state, ""
        log.info("%s can be written again", state.path)

    def _open(self, stack: ExitStack, directory: Path | None) -> Store | None:
        if directory is None:
            return None
        try:
            store = stack.enter_context(Store(directory / _FILE, self._life))
        except StoreError as error:
            self._refuse(error)
            return None
        self._refusal = store.refusal
        return store

    def _open_left(self, state: Store | None) -> Store | None:
        """Open the database in the runtime directory that is left from an earlier process."""
        if not (self._runtime and os.path.lexists(self._runtime / _FILE)):
            return None
        try:
            left = self._stack.enter_context(Store(self._runtime / _FILE, self._life))
        except StoreError as error:
            log.error("%s", error)
            return None
        if state and state.taken == left.identity:  # and it could not be removed
            _remove(left)
            return None
        return left

    def _read_left(self, left: Store, state: Store | None, passing: _Kept) -> _Kept:
        """Read what is not durable: of what the other has, what this has not taken in is added.

        passing: what the other has.
        """
        here: _Kept = {}
        try:
            here = {each.key: each for each in left.read() if not each.durable}
        except StoreError as error:
            log.error("%s", error)
        if state and passing and left.taken != state.identity:
            here = {**passing, **here}
            if self._refusal:
                _take_in(left, here, state.identity)
        if state:
            _finish(state, left, here)
        return here

    def _begin_left(self, state: Store | None, passing: _Kept) -> Store | None:
        """Begin to keep in the runtime directory what is not durable."""
        assert self._runtime
        try:
            left = self._stack.enter_context(Store(self._runtime / _FILE, self._life))
            left.take_in(passing.values(), state.identity if state and self._known else "")
        except StoreError as error:
            self._refusal = self._refusal or str(error)
            log.error("%s", error)
            return None
        return left

    def _read_state(self) -> tuple[_Kept, _Kept]:
        """Read what is durable, and what is not."""
        kept: tuple[_Kept, _Kept] = {}, {}
        try:
            for each in self._state.read() if self._state else ():
                kept[not each.durable][each.key] = each
            self._known = True
        except StoreError as error:
            self._refuse(error)
        return kept

    def _refuse(self, error: StoreError) -> None:
        log.error("%s", error)
        self._refusal = str(error)


def _take_in(store: Store, passing: _Kept, name: str) -> None:
    try:
        if not store.refusal:
            store.take_in(passing.values(), name)
    except StoreError as error:
        log.error("%s", error)


def _finish(state: Store, left: Store, passing: _Kept) -> None:
    """Finish a change of both files that an earlier version has begun."""
    try:
        rest = state.read_rest()
        if rest is None or not rest.name.startswith(left.identity) or rest.name == left.taken:
            return
        for key, desired in rest.changes.items():
            if desired:
                passing[key] = desired
            else:
                passing.pop(key, None)
        _take_in(left, passing, rest.name)
    except StoreError as error:
        log.error("%s", error)


def _remove(store: Store) -> None:
    store.close()
    try:
        for suffix in ("", *files.COMPANIONS):
            store.path.with_name(store.path.name + suffix).unlink(missing_ok=True)
    except OSError as error:  # the next process does not take it in again
        log.error("%s cannot be removed: %s", store.path, error.strerror)


def _life(runtime: Path | None) -> str:
    """Read the name of this life of the machine, or begin one."""
    name = os.urandom(8).hex()
    if runtime is None:
        return name
    path = runtime / _LIFE
    try:
        files.set_aside_unless_regular(path)
        with suppress(FileNotFoundError), path.open("rb") as file:
            found = file.read(_LENGTH + 1)
            if _NAME.fullmatch(found):
                return found.decode()
        fresh = path.with_name(f"{_LIFE}.new")
        files.set_aside_unless_regular(fresh)
        fresh.write_text(name)
        fresh.rename(path)
    except OSError as error:
        log.error("%s: %s. What ends with a reboot ends with this process", path, error.strerror)
    return name
