"""The service in the test's own process, where it can be given what a test wants: a controller that
breaks, an impatient polkit, more routes than a message holds.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from lab.bus import PrivateBus
from lab.caller import INTERFACE, OWN, STANDARD, Caller, refused
from lab.daemon import BUS_NAME
from lab.fake import FakeKeeper, FakeKernel, FakeLinks
from lab.polkit import MockPolkit
from msgspec import structs

from mfc_dbus.bus.connection import Connection
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import PEER, PROPERTIES
from mfc_dbus.control.controller import Controller
from mfc_dbus.control.status_changes import Change
from mfc_dbus.model.addresses import FAMILIES, host_prefix
from mfc_dbus.model.cause import BY_INTERFACE, Cause
from mfc_dbus.model.route import TableId, parse_route
from mfc_dbus.model.states import RouteState
from mfc_dbus.model.status import Status
from mfc_dbus.routing.table import Table
from mfc_dbus.service import object as service_module
from mfc_dbus.service import polkit as polkit_module
from mfc_dbus.service.access import Access
from mfc_dbus.service.object import MulticastForwarding
from mfc_dbus.service.polkit import Polkit


@contextlib.asynccontextmanager
async def served(bus: PrivateBus, controller: Controller) -> AsyncIterator[MulticastForwarding]:
    connection = await Connection.open(bus.address)
    try:
        access = Access(connection, Polkit(connection))
        service = MulticastForwarding(connection, access, controller, reload)
        connection.serve(service)
        await connection.own_name(BUS_NAME)
        yield service
    finally:
        await connection.close()


async def reload(cause: Cause) -> None:
    """There is no configuration."""


def controller() -> Controller:
    links = FakeLinks("eth1", "eth2")
    tables = [Table(TableId(family), FakeKernel(links)) for family in FAMILIES]
    controller = Controller(tables, links, FakeKeeper())
    controller.takeover.restore([])
    return controller


class Broken(Controller):
    """A controller that fails in a way that nobody foresaw."""

    def check_add(self, *arguments: Any, **options: Any) -> NoReturn:
        raise ZeroDivisionError("the secret of line 7")


async def test_an_error_that_nobody_foresaw_is_logged_and_the_caller_learns_nothing(
    own_bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    broken = Broken([], FakeLinks(), FakeKeeper())
    async with served(own_bus, broken), Caller.at(own_bus.address) as caller:
        with pytest.raises(BusError) as refusal:
            await caller.add()
        assert refusal.value.name == f"{STANDARD}.Failed"
        assert refusal.value.message == "internal error"
        await caller.ping()
    (record,) = caplog.records
    assert record.getMessage() == f"{INTERFACE}.AddRoute failed"
    assert "ZeroDivisionError: the secret of line 7" in caplog.text


async def test_the_machine_is_told_apart_where_it_has_an_id(
    own_bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "machine-id"
    monkeypatch.setattr(service_module, "_MACHINE_ID", path)
    async with served(own_bus, controller()), Caller.at(own_bus.address) as caller:
        call = caller.ask("GetMachineId", interface=PEER)
        await refused(call, f"{STANDARD}.FileNotFound", f"This system has no {path}")
        path.write_text("0123456789abcdef0123456789abcdef\n")
        answer = await caller.ask("GetMachineId", interface=PEER)
    assert answer == ["0123456789abcdef0123456789abcdef"]


async def test_routes_that_one_message_cannot_hold_are_a_limit_and_no_end(
    own_bus: PrivateBus,
) -> None:
    # No route is that long, but many are together.
    route = parse_route("*", "239.1.1.0", "eth1", ["eth2"])
    routes = [
        Status(
            structs.replace(route, group=host_prefix(bytes((239, 1, 1, n))), comment="x" * 110_000),
            RouteState.ACTIVE,
        )
        for n in range(250)
    ]
    async with served(own_bus, controller()) as service, Caller.at(own_bus.address) as caller:
        for status in routes:
            service.changed(Change([status], [], []), BY_INTERFACE)
        await refused(
            caller.get("Routes"),
            f"{OWN}.LimitExceeded",
            "All 250 routes are more than 24 MiB",
        )
        (others,) = await caller.ask("GetAll", "s", [INTERFACE], interface=PROPERTIES)
        assert "Routes" not in others
        assert others["Generation"].value == 250
        assert await caller.get("Generation") == 250
        service.changed(Change([], [], routes[50:]), BY_INTERFACE)
        assert len(await caller.get("Routes")) == 50


@pytest.mark.parametrize("interactive", [False, True])
async def test_a_polkit_that_never_answers_is_a_no_and_is_told_to_stop(
    interactive: bool, own_bus: PrivateBus, nobody: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polkit_module, "_INTERACTIVE_TIMEOUT" if interactive else "_TIMEOUT", 0.1)
    async with (
        served(own_bus, controller()),
        MockPolkit.at(own_bus.address) as polkit,
        Caller.at(own_bus.address, nobody) as caller,
    ):
        await refused(
            caller.add(interactive=interactive),
            f"{STANDARD}.AccessDenied",
            "polkit did not decide in time",
        )
        assert await polkit.cancelled.get() == (await polkit.asked.get()).cancellation
        assert await caller.get("Routes") == []
