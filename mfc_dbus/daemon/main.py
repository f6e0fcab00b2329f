"""mfc-dbusd: opens everything, wires it, drops its privileges, and runs until told to stop."""

import argparse
import asyncio
import errno
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError, ConnectionLost, NameTaken
from mfc_dbus.config.configuration import Configuration
from mfc_dbus.config.routes_d import Files
from mfc_dbus.config.settings import Config
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.drift import Drift
from mfc_dbus.daemon.kept_sockets import Sockets
from mfc_dbus.daemon.sdnotify import ServiceManager
from mfc_dbus.kernel import rules
from mfc_dbus.kernel.capabilities import drop_all
from mfc_dbus.kernel.links import Links
from mfc_dbus.kernel.mfc_events import EntryChanges
from mfc_dbus.kernel.rules import Rule
from mfc_dbus.loop import garbage
from mfc_dbus.loop.events import Guard, Pulse, Readers
from mfc_dbus.memberships.joins import Joins
from mfc_dbus.memberships.memberships import Memberships
from mfc_dbus.model.errors import RequestError, StoreError
from mfc_dbus.model.route import Desired, TableId
from mfc_dbus.names import BUS_NAME
from mfc_dbus.routing.table import Table
from mfc_dbus.service import logcontrol
from mfc_dbus.service.access import Access
from mfc_dbus.service.object import MulticastForwarding
from mfc_dbus.service.polkit import Polkit
from mfc_dbus.storage.keeper import Keeper
from mfc_dbus.version import VERSION

log = logging.getLogger("mfc-dbusd")

STOPPED = 0
FAILED = 1
NAME_TAKEN = 3
BUS_LOST = 4

# Seconds after which the service manager may take a start or an end for stuck. To take up the
# sockets of as many routes as the settings allow by default takes a part of that.
_LONGEST = 300
_LEAST_FILES = 64  # it opens some 20, and more for memberships and while it stores
_TICK = 1.0  # seconds
_SLICE = 0.02  # seconds between looks at what was learned, at the least
_SWITCH = 0.001  # seconds that a thread may keep the others waiting, of which one serves
# Seconds that a step of the upkeep may take, and what goes on while it waits: one part of a change
# of many routes is to read, compare or store all of them.
_PATIENCE = 60.0
_CONFIGURATION = Path(os.environ.get("CONFIGURATION_DIRECTORY", "/etc/mfc-dbus"))

_EPILOG = f"""\
It serves {BUS_NAME} on the bus of DBUS_SYSTEM_BUS_ADDRESS, or on the
system bus. Routes and memberships are kept under STATE_DIRECTORY; those that are not to
outlive a reboot end with RUNTIME_DIRECTORY.

exit status:
  0  told to stop, by SIGTERM or SIGINT
  1  could not start: no bus, no permission
  2  usage
  3  another process owns the name on the bus
  4  the bus has gone
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="mfc-dbusd",
        description="Hold the kernel's static multicast routes, and offer them on D-Bus.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=VERSION)
    arguments = parser.parse_args(argv)
    sys.setswitchinterval(_SWITCH)
    garbage.bound()
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
    """Open everything, begin with what there is, and serve until the end; the exit status."""
    _check_files()
    manager = stack.enter_context(ServiceManager(os.environ))
    manager.tell_of_long_work(_LONGEST)
    links = stack.enter_context(Links())
    changes = stack.enter_context(EntryChanges())
    configuration = Configuration(_CONFIGURATION)
    settings, files = configuration.begin()
    ids = dict.fromkeys([*Config().tables, *settings.tables])  # a reload may want the first
    sockets = Sockets(manager, ids)
    tables = [Table(id_, sockets.open_table(stack, id_)) for id_ in ids]
    _make_rules(settings)
    keeper = stack.enter_context(
        Keeper(_directory("STATE_DIRECTORY"), _directory("RUNTIME_DIRECTORY"))
    )
    joins = stack.enter_context(Joins(sockets.open_group))
    drop_all()
    pulse = Pulse(_PATIENCE)
    controller = Controller(tables, links, keeper, settings, Memberships(joins), pulse.go_on)
    with garbage.held_off():
        controller.restore(_desired(keeper, files), sockets.held())
    sockets.leave_earlier_groups()
    return asyncio.run(_serve(controller, configuration, links, changes, manager, sockets, pulse))


def _check_files() -> None:
    """Raise OSError where this process may open too few files to get anywhere."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_FILES:
        raise OSError(
            f"it may open {limit} files (LimitNOFILE= of the unit), and needs {_LEAST_FILES}"
        )


def _make_rules(settings: Config) -> None:
    """Let the kernel's rules be those of the configuration."""
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
    """Get what was stored and what is in files, which take the place of what was stored."""
    configured: list[Desired] = [*files.routes, *files.memberships]
    keys = {each.key for each in configured}
    stored = keeper.read()
    replaced = [each for each in stored if each.key in keys]
    try:
        keeper.forget(replaced)
    except StoreError as error:  # then they are replaced at the next start too
        log.error("%s", error)
    return [*(each for each in stored if each.key not in keys), *configured]


def _directory(variable: str) -> Path | None:
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
    sockets: Sockets,
    pulse: Pulse,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    readers = Readers(loop)
    readers.add(links.fileno(), "the hearing of network interfaces", controller.follow)

    connection = await Connection.open()
    access = Access(connection, Polkit(connection))

    def tell_status() -> None:
        manager.describe(configuration.describe(controller.present, controller.count))

    async def configure(settings: Config, files: Files) -> None:
        await controller.configure(settings, files.routes, files.memberships)

    drift = Drift(controller.tables, controller.present, changes.read, sockets)

    async def reload() -> None:
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
    await connection.own_name(BUS_NAME)
    log.info("Serving %s", BUS_NAME)

    # What the manager is told comes in this order: from READY on, no crash takes a table with it.
    reasons = {
        id_: _report(controller, table, sockets, readers)
        for id_, table in controller.tables.items()
    }
    await configuration.warn(controller.present, controller.count)
    tell_status()
    manager.tell("READY=1")
    stopping = asyncio.create_task(stop.wait())
    lost = asyncio.create_task(connection.wait_closed())
    pulse.beat()
    ticking = asyncio.create_task(
        _tick(controller, service, drift, sockets, readers, reasons, tell_status, pulse)
    )
    looking = asyncio.create_task(_look(controller))
    living = asyncio.create_task(live(manager, pulse))
    keeping_up = asyncio.create_task(_keep_up(controller))
    ours = [ticking, looking, living, keeping_up]
    await asyncio.wait([stopping, lost, *ours], return_when=asyncio.FIRST_COMPLETED)
    if stopping.done() and not manager.exists:
        controller.part()  # a manager may be about to restart us, and does not say so
    manager.tell("STOPPING=1")
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
    drift: Drift,
    sockets: Sockets,
    readers: Readers,
    reasons: dict[TableId, str],
    tell_status: Callable[[], None],
    pulse: Pulse,
) -> None:
    """Do what no event asks for, once a second.

    reasons: why each table is not ours, as was reported.
    """

    async def look_at_sockets() -> None:
        readers.retry()

    async def verify() -> None:
        controller.follow()
        await drift.verify()

    async def report() -> None:
        for id_, table in controller.tables.items():
            if table.reason != reasons[id_]:
                reasons[id_] = _report(controller, table, sockets, readers)
                service.tables_changed()
        tell_status()

    async def mend() -> None:
        with pulse.queued():
            await controller.mend()

    async def expire() -> None:
        try:
            with pulse.queued():
                await controller.expire(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        except RequestError as error:  # it is tried again
            log.error("A route whose time has run out stays: %s", error)

    steps = [
        (Guard("the hearing of sockets that were in error"), look_at_sockets),
        (Guard("the repair of what the kernel refused"), mend),
        (Guard("the search for what others did to the tables"), verify),
        (Guard("the report of tables and of the status"), report),
        (Guard("the removal of routes whose time has run out"), expire),
    ]
    while True:
        for guard, step in steps:
            with guard:
                await step()
            pulse.beat()
        await asyncio.sleep(_TICK)


async def live(manager: ServiceManager, pulse: Pulse) -> None:
    """Show the watchdog that somebody is served, also during a change that takes long."""
    alive = True
    while True:
        before, alive = alive, pulse.alive
        if alive:
            manager.tell("WATCHDOG=1")
        elif before:
            log.error("The upkeep stands still: the watchdog hears nothing more")
        await asyncio.sleep(min(_TICK, manager.watchdog / 3 or _TICK))


async def _keep_up(controller: Controller) -> None:
    """Do what concerns many routes, in slices."""
    guard = Guard("the upkeep of many routes")
    while True:
        with guard:
            await controller.keep_up()
        await asyncio.sleep(_TICK)  # it has failed


async def _look(controller: Controller) -> None:
    """Look whether what was learned is used, in slices."""
    guard = Guard("the look at what was learned")
    while True:
        wait = _TICK
        with guard:
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            controller.look(now)
            when = controller.next_look
            wait = _TICK if when is None else (when - now) / 1e9
        await asyncio.sleep(min(max(wait, _SLICE), _TICK))


def _listen(controller: Controller, table: Table, readers: Readers) -> None:
    """Hear what the kernel asks, while the table is ours."""
    fd = table.fileno()
    if fd is not None and table.owned:
        readers.add(fd, f"the {table.id} table", partial(controller.hear, table.id))
    elif fd is not None:
        readers.remove(fd)


def _report(controller: Controller, table: Table, sockets: Sockets, readers: Readers) -> str:
    """Tell of a table, and have it heard and kept if it is ours. Why it is not."""
    _listen(controller, table, readers)
    if table.reason:
        log.warning("%s", table.reason)
        sockets.forget_table(table.id)
    else:
        log.info("The %s multicast routing table is ours", table.id)
        sockets.keep_table(table.id, table.kernel.fileno())
    return table.reason
