"""Keeps routes and memberships: those that outlive a reboot, and those that end with it.

All are in one database, so that a change of both is one commit. Rows that end with a reboot (the
passing ones) carry the name of this life of the machine: a file in $RUNTIME_DIRECTORY has it, and a
reboot removes that. Only while $STATE_DIRECTORY cannot be written, passing rows are in a database
of their own in $RUNTIME_DIRECTORY, until the next process or the next durable change:

    $STATE_DIRECTORY/routes.db      durable and passing rows           `state`
    $RUNTIME_DIRECTORY/life         the name of this life
    $RUNTIME_DIRECTORY/routes.db    passing rows of a read-only time   `left`
"""

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from mfc_dbus.loop.worker import Worker
from mfc_dbus.model.desired import Desired, Edit, Key
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.history import HistoryUpdate, PastChange
from mfc_dbus.model.journal import Message, about, logger_of
from mfc_dbus.storage import set_aside
from mfc_dbus.storage.store import Store

log = logger_of(__name__, Message.STORE_FAILED)

_FILE = "routes.db"
_LIFE = "life"
_LENGTH = 16
_NAME = re.compile(rb"[0-9a-f]{16}")
_FIRST_WAIT, _LAST_WAIT = 1.0, 60.0  # seconds until a failed store is tried again
_Kept = dict[Key, Desired]


class Keeper:
    """Reads and writes one store; a thread of its own does one commit after the other."""

    def __init__(self, state: Path | None, runtime: Path | None) -> None:
        """state, runtime: directories; what belongs into a missing one is not kept."""
        self._runtime = runtime
        self._life = _life(runtime)
        self._store: Store | None = None
        self._refusal = ""  # why the state directory's store cannot be written
        self._known = False  # whether that store was read
        self._wait = _FIRST_WAIT
        self._timer: asyncio.TimerHandle | None = None
        with ExitStack() as stack:
            self._thread = stack.enter_context(Worker("store"))
            self._state = self._open(stack, state)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self) -> list[Desired]:
        """Return all that was kept; call it once. A store that cannot be read is not used then."""
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
        """Delete routes and memberships at the start, in this thread. Raises StoreError."""
        self._write({each.key: Edit(each, None) for each in desired})

    def read_history(self) -> list[PastChange]:
        """Return the history of changes; `read` comes before."""
        return self._state.read_history() if self._state and self._known else []

    async def write(self, edits: Mapping[Key, Edit], history: HistoryUpdate | None = None) -> None:
        """Write edits; return when they are on disk. Raises StoreError; then none is kept.

        history: what of it is added to the history. Only the state directory has one.
        """
        try:
            await self._thread.do(self._write, edits, history)
        finally:
            self._mend_later()

    def _mend_later(self) -> None:
        """Plan to take back a refused commit later, where the disk did not let us do it at once."""
        store = self._store
        if not (store and store.doubtful):
            self._wait = _FIRST_WAIT
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._wait, self._mend, store)
            self._wait = min(2 * self._wait, _LAST_WAIT)

    def _mend(self, store: Store) -> None:
        def mended(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and not future.exception():
                _tell_of_return(store)
            self._timer = None
            self._mend_later()

        self._thread.do(store.mend).add_done_callback(mended)

    def _write(self, edits: Mapping[Key, Edit], history: HistoryUpdate | None = None) -> None:
        store = self._store
        changes = {key: new for key, (_, new) in edits.items()}
        if store is not self._state or store is None:
            # The store in the runtime directory holds nothing that is durable.
            if self._refusal and any(
                each and each.survives_reboot for e in edits.values() for each in e
            ):
                self._return_to_state()
                self._write(edits, history)
                return
            changes = {
                key: None if new and new.survives_reboot else new for key, new in changes.items()
            }
        if store and changes:
            store.write(changes, history if store is self._state else None)

    def _return_to_state(self) -> None:
        """Write to the state directory again. Raises StoreError where that still fails."""
        state, left = self._state, self._store
        if state is None or not self._known:
            raise StoreError(self._refusal)
        if state.refusal:
            state.open_again()
        if left:
            passing = [each for each in left.read() if not each.survives_reboot]
            state.take_in(passing, left.identity)
            _remove(left)
        self._store, self._refusal = state, ""
        _tell_of_return(state)

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
        """Open the database that an earlier process has left in the runtime directory, if any."""
        if not (self._runtime and os.path.lexists(self._runtime / _FILE)):
            return None
        try:
            left = self._stack.enter_context(Store(self._runtime / _FILE, self._life))
        except StoreError as error:
            log.error("%s", error)
            return None
        if state and state.taken == left.identity:  # it was taken in, and could not be removed
            _remove(left)
            return None
        return left

    def _read_left(self, left: Store, state: Store | None, passing: _Kept) -> _Kept:
        """Return the passing rows of `left`, with those of `state` that it has not taken in yet.

        passing: the passing rows of `state`.
        """
        here: _Kept = {}
        try:
            here = {each.key: each for each in left.read() if not each.survives_reboot}
        except StoreError as error:
            log.error("%s", error)
        if state and passing and left.taken != state.identity:
            here = {**passing, **here}
            if self._refusal:
                _take_in(left, here, state.identity)
        if state:
            _finish_change(state, left, here)
        return here

    def _begin_left(self, state: Store | None, passing: _Kept) -> Store | None:
        """Open a database in the runtime directory, and keep the passing rows there from now on."""
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
        """Return the durable and the passing rows of the state directory's store."""
        kept: tuple[_Kept, _Kept] = {}, {}
        try:
            for each in self._state.read() if self._state else ():
                kept[not each.survives_reboot][each.key] = each
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


def _finish_change(state: Store, left: Store, passing: _Kept) -> None:
    """Finish a change of both files that an earlier version has begun: see earlier.py."""
    try:
        handoff = state.read_handoff()
        if (
            handoff is None
            or not handoff.name.startswith(left.identity)
            or handoff.name == left.taken
        ):
            return
        for key, desired in handoff.changes.items():
            if desired:
                passing[key] = desired
            else:
                passing.pop(key, None)
        _take_in(left, passing, handoff.name)
    except StoreError as error:
        log.error("%s", error)


def _tell_of_return(store: Store) -> None:
    log.logger.info("%s can be written again", store.path, extra=about(Message.STORE_WORKS))


def _remove(store: Store) -> None:
    store.close()
    try:
        for suffix in ("", *set_aside.COMPANIONS):
            store.path.with_name(store.path.name + suffix).unlink(missing_ok=True)
    except OSError as error:  # the next process sees in `taken` that it is not needed
        log.error("%s cannot be removed: %s", store.path, error.strerror)


def _life(runtime: Path | None) -> str:
    """Return the name of this life of the machine; the first process after a boot makes it."""
    name = os.urandom(8).hex()
    if runtime is None:
        return name
    path = runtime / _LIFE
    try:
        set_aside.set_aside_unless_regular(path)
        with suppress(FileNotFoundError), path.open("rb") as file:
            found = file.read(_LENGTH + 1)
            if _NAME.fullmatch(found):
                return found.decode()
        fresh = path.with_name(f"{_LIFE}.new")
        set_aside.set_aside_unless_regular(fresh)
        fresh.write_text(name)
        fresh.rename(path)
    except OSError as error:
        log.error("%s: %s. What ends with a reboot ends with this process", path, error.strerror)
    return name
