"""mfc-dbusd: opens everything, wires it, drops its privileges, and runs until told to stop."""

import argparse
import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import ExitStack

from mfc_dbus.access import Access
from mfc_dbus.bus.connection import BusError, Connection, ConnectionLost, NameTaken
from mfc_dbus.controller import Change, Controller
from mfc_dbus.kernel.capabilities import drop_all
from mfc_dbus.kernel.links import Links
from mfc_dbus.kernel.mroute import MRoute
from mfc_dbus.model import FAMILIES, FAMILY_NAMES, Family
from mfc_dbus.names import BUS_NAME
from mfc_dbus.polkit import Polkit
from mfc_dbus.service import MulticastForwarding
from mfc_dbus.table import Table
from mfc_dbus.version import VERSION

log = logging.getLogger("mfc-dbusd")

STOPPED = 0
FAILED = 1
NAME_TAKEN = 3
BUS_LOST = 4

_RETRY = 1.0  # seconds between two tries to get a table that somebody else owns

_EPILOG = f"""\
It serves {BUS_NAME} on the bus of DBUS_SYSTEM_BUS_ADDRESS, or on the
system bus. The routes end with it.

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
    logging.basicConfig(
        format="%(levelname)s: %(message)s",
        level=logging.DEBUG if arguments.debug else logging.INFO,
    )
    with ExitStack() as stack:
        links = stack.enter_context(Links())
        tables = [_open_table(stack, family) for family in FAMILIES]
        drop_all()
        try:
            return asyncio.run(_serve(tables, links))
        except (OSError, ValueError, BusError, TimeoutError) as error:
            log.error("Cannot serve %s: %s", BUS_NAME, error)
            return FAILED
        except NameTaken:
            log.error("Another process owns the name %s", BUS_NAME)
            return NAME_TAKEN
        except ConnectionLost as error:
            log.error("Stopping, because %s", error)
            return BUS_LOST


def _open_table(stack: ExitStack, family: Family) -> Table:
    try:
        return Table(family, stack.enter_context(MRoute(family)))
    except OSError as error:
        return Table(family, error)


async def _serve(tables: Sequence[Table], links: Links) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    connection = await Connection.open()

    def tell(change: Change) -> None:
        service.changed(change)

    controller = Controller(tables, links, tell)
    access = Access(connection, Polkit(connection))
    service = MulticastForwarding(connection, access, controller)
    known: dict[Family, str] = {}
    _take(tables, known)
    connection.serve(service)
    await connection.own_name(BUS_NAME)
    log.info("Serving %s", BUS_NAME)

    retrying = asyncio.create_task(_retry(tables, known, service))
    stopping = asyncio.create_task(stop.wait())
    lost = asyncio.create_task(connection.wait_closed())
    await asyncio.wait([stopping, lost], return_when=asyncio.FIRST_COMPLETED)
    retrying.cancel()
    stopping.cancel()
    if lost.done():
        raise ConnectionLost(lost.result())
    await connection.close()
    log.info("Stopped")
    return STOPPED


async def _retry(
    tables: Sequence[Table], known: dict[Family, str], service: MulticastForwarding
) -> None:
    while any(known.values()):
        await asyncio.sleep(_RETRY)
        if _take(tables, known):
            service.tables_changed()


def _take(tables: Sequence[Table], known: dict[Family, str]) -> bool:
    """Try to get the tables that are not ours; whether anything is new.

    known: why each was not ours when this last looked; a call may have taken it meanwhile.
    """
    new = False
    for table in tables:
        table.take()
        if table.reason == known.get(table.family):
            continue
        new = True
        known[table.family] = table.reason
        if table.reason:
            log.warning("%s", table.reason)
        else:
            log.info("The %s multicast routing table is ours", FAMILY_NAMES[table.family])
    return new
