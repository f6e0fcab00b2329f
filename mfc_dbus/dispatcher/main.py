"""mfc-dbus-dispatcher: runs scripts on changes of which the service tells on the bus."""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mfc_dbus.client import Client, ClientError
from mfc_dbus.dispatcher.arguments import FAILED, PROGRAM, STOPPED, make_parser
from mfc_dbus.dispatcher.dispatch import Directories, Dispatcher
from mfc_dbus.dispatcher.environment import clean
from mfc_dbus.dispatcher.heard import Heard, Imagined
from mfc_dbus.dispatcher.printer import Printer
from mfc_dbus.dispatcher.processes import leads_to_journal
from mfc_dbus.dispatcher.progress import Progress
from mfc_dbus.dispatcher.scripts import DIRECTORIES, find
from mfc_dbus.dispatcher.watch import UNROUTED_TRAFFIC, Watch
from mfc_dbus.version import VERSION

log = logging.getLogger(__name__)

_STATE = "/var/lib/mfc-dbus-dispatcher"
_STOPPING = 10.0  # seconds in which what waits is still dispatched
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    directories = arguments.directory or DIRECTORIES
    if arguments.version:
        print(PROGRAM, VERSION)
        return STOPPED
    if arguments.list:
        _list(directories)
        return STOPPED
    _log_to_stderr()
    state = Path(os.environ.get("STATE_DIRECTORY", _STATE))
    try:
        with contextlib.ExitStack() as stack:
            if arguments.dry_run:
                heard: Heard = stack.enter_context(contextlib.closing(Imagined(state)))
                worker: Dispatcher | Printer = Printer(heard)
            else:
                state.mkdir(mode=0o700, exist_ok=True)
                stack.enter_context(_locked(state))
                heard = stack.enter_context(contextlib.closing(Heard(state)))
                progress = stack.enter_context(Progress(state, heard.life))
                worker = Dispatcher(heard, progress, Directories(directories), arguments.timeout)
            asyncio.run(_serve(worker, once=arguments.once))
    except (OSError, ClientError) as error:
        log.error("%s", error)
        return FAILED
    except asyncio.CancelledError:  # it was told to stop before it had begun
        pass
    return STOPPED


async def _serve(worker: Dispatcher | Printer, *, once: bool) -> None:
    """Dispatch until told to stop, or until all is told that there is, if that is asked for.

    Raises ClientError, also when the bus has gone.
    """
    told = asyncio.Event()
    beginning = asyncio.current_task()

    def stop() -> None:
        if beginning:
            beginning.cancel()  # a service that hangs may keep it waiting
        if told.is_set():
            worker.kill()
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    async with Client.open() as client, client.following(UNROUTED_TRAFFIC) as (follower, signals):
        watch = Watch(client, follower, await client.bus_id(), worker.wants_streams)
        await watch.begin()
        beginning = None
        dispatching = asyncio.create_task(worker.run(watch.backlog))
        watching = asyncio.create_task(watch.run(signals))
        stopping = asyncio.create_task(told.wait())
        if once:
            watch.backlog.close()
        try:
            first = {dispatching, stopping} if once else {dispatching, stopping, watching}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                # The service is stopped before us, and the signal of it is on its way.
                with contextlib.suppress(ClientError):
                    await client.owner()
                signals.put_nowait(None)
                await asyncio.wait([watching], timeout=_STOPPING)
            watch.backlog.close()
            if stopping.done():
                await asyncio.wait([dispatching], timeout=_STOPPING)
            if not once or stopping.done():
                worker.stop()
            await dispatching
            if watching.done():
                watching.result()
            if not once and not stopping.done():
                raise ClientError("Disconnected", "The bus has gone")
        finally:
            for task in (dispatching, watching, stopping):
                task.cancel()
            await asyncio.gather(dispatching, watching, stopping, return_exceptions=True)


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Keep other dispatchers off a directory. Raises OSError."""
    fd = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OSError(f"Another dispatcher uses {state}") from None
    finally:
        os.close(fd)


def _list(directories: Iterable[Path]) -> None:
    found = find(directories)
    for script in found.scripts:
        print(clean(str(script.path)) + ("" if script.waits else " (nobody waits for it)"))
    for refused in found.refused:
        print(clean(str(refused.path)), f"is not run: {refused.reason}")


class _Formatter(logging.Formatter):
    """For the journal puts the priority before a line (sd-daemon(3)); for people the program."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s" if journal else f"{PROGRAM}: %(message)s")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._journal:
            return text
        return "\n".join(f"<{_PRIORITIES[record.levelno]}>{line}" for line in text.split("\n"))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(journal=leads_to_journal(sys.stderr.fileno())))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
