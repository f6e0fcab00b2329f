"""mfc-dbusd: opens everything, wires it, drops its privileges, and serves until told to stop."""

import asyncio
import errno
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError, ConnectionLost, NameTaken
from mfc_dbus.config.configuration import Configuration
from mfc_dbus.config.routes_d import Files
from mfc_dbus.config.settings import DIRECTORY, Settings
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.drift import DriftDetector
from mfc_dbus.daemon import heap
from mfc_dbus.daemon.arguments import BUS_LOST, FAILED, NAME_TAKEN, STOPPED, make_parser
from mfc_dbus.daemon.kept_sockets import KeptSockets
from mfc_dbus.daemon.sdnotify import ServiceManager
from mfc_dbus.kernel import rules
from mfc_dbus.kernel.capabilities import drop_all
from mfc_dbus.kernel.dump import Held
from mfc_dbus.kernel.landlock import give_up_programs_and_tcp
from mfc_dbus.kernel.links import Links
from mfc_dbus.kernel.mfc_events import EntryChanges
from mfc_dbus.kernel.rules import Rule
from mfc_dbus.loop import garbage
from mfc_dbus.loop.events import Guard, Pulse, Readers
from mfc_dbus.memberships.joins import Joins
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.boot_clock import since_boot
from mfc_dbus.model.cause import Cause
from mfc_dbus.model.desired import Desired
from mfc_dbus.model.errors import RequestError, StoreError
from mfc_dbus.model.journal import Message, about_table
from mfc_dbus.model.route import TableId
from mfc_dbus.names import BUS_NAME
from mfc_dbus.routing.table import Table
from mfc_dbus.service import logcontrol
from mfc_dbus.service.access import Access
from mfc_dbus.service.object import MulticastForwarding
from mfc_dbus.service.polkit import Polkit
from mfc_dbus.storage.keeper import Keeper

log = logging.getLogger("mfc-dbusd")

# Seconds after which the service manager may take a start or an end for stuck. To take up the
# sockets of as many routes as the settings allow by default takes a part of that.
_LONGEST = 300
_LEAST_FILES = 64  # the process opens some 20, and more for memberships and while it stores
_TICK = 1.0  # seconds
_SLICE = 0.02  # seconds between two slices of the work that is due, at the least
_SWITCH = 0.001  # seconds that a thread may keep the event loop's waiting
# Seconds that a step of the upkeep may take, and what goes on while it waits: one part of a change
# of many routes is to read, compare or store all of them.
_PATIENCE = 60.0
_CONFIGURATION = Path(os.environ.get("CONFIGURATION_DIRECTORY", DIRECTORY))


def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    sys.setswitchinterval(_SWITCH)
    garbage.bound()
    heap.bound()
    logcontrol.begin(logging.DEBUG if arguments.debug else logging.INFO)
    try:
        with ExitStack() as stack:
            return _run(stack)
    except (OSError, ValueError, BusError, TimeoutError) as error:
        log.error("Cannot serve %s: %s", BUS_NAME, error)
        return FAILED
    except NameTaken:
        log.error("Another process owns the name %s", BUS_NAME)
        return NAME_TAKEN
    except ConnectionLost as error:
        log.error("Stopping, because %s", error)
        return BUS_LOST


def _run(stack: ExitStack) -> int:
    """Open everything, restore routes and memberships, and serve. Return the exit status."""
    _check_files()
    manager = stack.enter_context(ServiceManager(os.environ))
    manager.tell_of_long_work(_LONGEST)
    links = stack.enter_context(Links())
    changes = stack.enter_context(EntryChanges())
    configuration = Configuration(_CONFIGURATION)
    settings, files = configuration.begin()
    ids = dict.fromkeys([*Settings().tables, *settings.tables])  # a reload may want the first
    sockets = KeptSockets(manager, ids)
    tables = [Table(id_, sockets.open_table(stack, id_)) for id_ in ids]
    _make_rules(settings)
    keeper = stack.enter_context(
        Keeper(_directory("STATE_DIRECTORY"), _directory("RUNTIME_DIRECTORY"))
    )
    joins = stack.enter_context(Joins(sockets.open_group))
    drop_all()
    try:
        give_up_programs_and_tcp()
    except OSError as error:
        log.info("Landlock does not keep it from running programs and speaking TCP: %s", error)
    pulse = Pulse(_PATIENCE)
    controller = Controller(tables, links, keeper, settings, Memberships(joins), pulse.go_on)
    with garbage.held_off(), ThreadPoolExecutor(1) as beside:
        # The kernel needs no Python to list what it holds, and takes as long as it is to read rows.
        held: Callable[[], dict[TableId, Held]] = sockets.held
        with suppress(RuntimeError):  # the system lets no thread start
            held = beside.submit(sockets.held).result
        controller.takeover.restore(_desired(keeper, files), held())
        controller.history.begin(keeper.read_history())
    sockets.leave_earlier_groups()
    return asyncio.run(_serve(controller, configuration, links, changes, manager, sockets, pulse))


def _check_files() -> None:
    """Raise OSError where this process may open too few files to get anywhere."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_FILES:
        raise OSError(
            f"it may open {limit} files (LimitNOFILE= of the unit), and needs {_LEAST_FILES}"
        )


def _make_rules(settings: Settings) -> None:
    """Make the rules of the configuration, and delete all others that an earlier process made."""
    wanted = [
        Rule(table.family, table.number, iif)
        for iif, number in settings.rules.items()
        for table in settings.tables
        if table.number == number
    ]
    try:
        rules.replace(wanted)
    except OSError as error:
        if wanted or error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPERM):
            log.error("The rules for multicast routing tables cannot be made: %s", error)


def _desired(keeper: Keeper, files: Files) -> list[Desired]:
    """Return the stored routes and memberships, with those of files in the place of their likes."""
    configured: list[Desired] = [*files.routes, *files.memberships]
    keys = {each.key for each in configured}
    stored = keeper.read()
    if not configured:
        return stored
    replaced = [each for each in stored if each.key in keys]
    try:
        keeper.forget(replaced)
    except StoreError as error:  # then they are replaced at the next start too
        log.error("%s", error)
    return [*(each for each in stored if each.key not in keys), *configured]


def _directory(variable: str) -> Path | None:
    """Return the directory that the service manager names, None where it names none."""
    value = os.environ.get(variable)
    if not value:
        log.warning("%s is not set: what belongs there ends with this process", variable)
        return None
    return Path(value)


async def _serve(
    controller: Controller,
    configuration: Configuration,
    links: Links,
    changes: EntryChanges,
    manager: ServiceManager,
    sockets: KeptSockets,
    pulse: Pulse,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    readers = Readers(loop)
    readers.add(links.fileno(), "the hearing of network interfaces", controller.follow)

    connection = await Connection.open()
    polkit = Polkit(connection)
    access = Access(connection, polkit)

    def tell_status() -> None:
        manager.describe(configuration.describe(controller.present, controller.count))

    drift = DriftDetector(
        controller.tables, controller.present, changes, sockets, controller.takeover
    )

    async def reload(cause: Cause) -> None:
        async def configure(settings: Settings, files: Files) -> None:
            await controller.documents.configure(settings, files.routes, files.memberships, cause)

        try:
            await configuration.reload(configure)
        finally:
            tell_status()
        await configuration.warn(controller.present, controller.count)
        controller.follow()
        await drift.verify([table.id for table in controller.tables.values() if table.owned])
        for table in controller.tables.values():
            _listen(controller, table, readers)

    service = MulticastForwarding(connection, access, controller, reload)
    connection.serve(service)
    await polkit.follow(service.permissions.changed)
    await connection.own_name(BUS_NAME)
    log.info("Serving %s", BUS_NAME)

    # The sockets are kept before READY: from then on no crash takes a table with it.
    reasons = {
        id_: _report(controller, table, sockets, readers)
        for id_, table in controller.tables.items()
    }
    await configuration.warn(controller.present, controller.count)
    tell_status()
    manager.notify("READY=1")
    stopping = asyncio.create_task(stop.wait())
    lost = asyncio.create_task(connection.wait_closed())
    pulse.beat()
    ticking = asyncio.create_task(
        _tick(controller, service, sockets, readers, reasons, tell_status, pulse)
    )
    verifying = asyncio.create_task(_verify(controller, drift))
    looking = asyncio.create_task(_do_due(controller))
    living = asyncio.create_task(live(manager, pulse))
    keeping_up = asyncio.create_task(_keep_up(controller))
    ours = [ticking, verifying, looking, living, keeping_up]
    await asyncio.wait([stopping, lost, *ours], return_when=asyncio.FIRST_COMPLETED)
    if stopping.done() and not manager.exists:
        # A manager may be about to restart us, and does not say so.
        controller.announce_termination()
    manager.notify("STOPPING=1")
    manager.tell_of_long_work(_LONGEST)
    stopping.cancel()
    for task in ours:
        if task.done():
            task.result()
        task.cancel()
    await controller.close()
    readers.close()
    if lost.done():
        raise ConnectionLost(lost.result())
    await connection.close()
    log.info("Stopped")
    return STOPPED


async def _tick(
    controller: Controller,
    service: MulticastForwarding,
    sockets: KeptSockets,
    readers: Readers,
    reasons: dict[TableId, str],
    tell_status: Callable[[], None],
    pulse: Pulse,
) -> None:
    """Do, once a second, the work that no event asks for.

    reasons: why each table is not ours, as it was reported last.
    """

    async def look_at_sockets() -> None:
        readers.retry()

    async def report() -> None:
        for id_, table in controller.tables.items():
            if table.reason != reasons[id_]:
                reasons[id_] = _report(controller, table, sockets, readers)
                service.tables_changed()
        tell_status()

    async def mend() -> None:
        with pulse.queued():
            await controller.retry_refused()

    async def tell_of_missed() -> None:
        with pulse.queued():
            await controller.tell_of_missed()

    async def expire() -> None:
        try:
            with pulse.queued():
                await controller.expire(since_boot())
        except RequestError as error:  # it is tried again
            log.error("A route whose time has run out stays: %s", error)

    steps = [
        (Guard("the hearing of sockets that were in error"), look_at_sockets),
        (Guard("the repair of what the kernel refused"), mend),
        (Guard("the telling of changes that were missed"), tell_of_missed),
        (Guard("the report of tables and of the status"), report),
        (Guard("the removal of routes whose time has run out"), expire),
    ]
    while True:
        for guard, step in steps:
            with guard:
                await step()
            pulse.beat()
        await asyncio.sleep(_TICK)


async def _verify(controller: Controller, drift: DriftDetector) -> None:
    """Undo what others did to the tables; of a large one a whole look takes many seconds.

    A long change has its time first: the notifications of all that it writes would cost as much.
    """
    guard = Guard("the search for what others did to the tables")
    while True:
        with suppress(TimeoutError):  # there may be one long change after the other
            async with asyncio.timeout(_PATIENCE):
                await controller.until_whole()
        with guard:
            controller.follow()
            await drift.verify()
        await asyncio.sleep(_TICK)


async def live(manager: ServiceManager, pulse: Pulse) -> None:
    """Send the watchdog signs of life while the upkeep goes on, also during a long change."""
    alive = True
    while True:
        before, alive = alive, pulse.alive
        if alive:
            manager.notify("WATCHDOG=1")
        elif before:
            log.error("The upkeep stands still: the watchdog hears nothing more")
        await asyncio.sleep(min(_TICK, manager.watchdog / 3 or _TICK))


async def _keep_up(controller: Controller) -> None:
    """Have the controller do the work that concerns many routes, in slices."""
    guard = Guard("the upkeep of many routes")
    while True:
        with guard:
            await controller.keep_up()
        await asyncio.sleep(_TICK)  # it returns only by an error, which the guard has logged


async def _do_due(controller: Controller) -> None:
    """Have the controller do, in slices, what becomes due with time."""
    guard = Guard("the work that is due")
    while True:
        wait = _TICK
        with guard:
            now = since_boot()
            controller.do_due(now)
            when = controller.next_due
            wait = _TICK if when is None else (when - now) / 1e9
        await asyncio.sleep(min(max(wait, _SLICE), _TICK))


def _listen(controller: Controller, table: Table, readers: Readers) -> None:
    """Have the controller read a table's upcalls as they come, while the table is ours."""
    fd = table.fileno()
    if fd is not None and table.owned:
        readers.add(fd, f"the {table.id} table", partial(controller.read_upcalls, table.id))
    elif fd is not None:
        readers.remove(fd)


def _report(controller: Controller, table: Table, sockets: KeptSockets, readers: Readers) -> str:
    """Log whether a table is ours, and if so have it read and kept. Return why it is not ours."""
    _listen(controller, table, readers)
    if table.reason:
        log.warning(
            "%s",
            table.reason,
            extra=about_table(Message.TABLE_NOT_OURS, table.id, reason=table.reason),
        )
        sockets.forget_table(table.id)
    else:
        log.info(
            "The %s multicast routing table is ours",
            table.id,
            extra=about_table(Message.TABLE_OURS, table.id),
        )
        sockets.keep_table(table.id, table.kernel.fileno())
    return table.reason
