"""The properties of the service, read by whoever missed a signal."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from lab.parts import pausing_everywhere

from mfc_dbus.bus.backend import decode
from mfc_dbus.bus.connection import Connection
from mfc_dbus.control.view import View
from mfc_dbus.loop.slices import Slices
from mfc_dbus.model.route import parse_route
from mfc_dbus.model.states import RouteState
from mfc_dbus.model.status import Status
from mfc_dbus.service import properties
from mfc_dbus.service.properties import Properties


def test_where_no_signal_told_of_a_change_generation_does_and_the_routes_are_read_anew() -> None:
    async def scenario() -> None:
        emitted: list[Any] = []
        pauses: list[Slices] = []

        async def pause(slices: Slices) -> None:
            pauses.append(slices)

        route = parse_route("10.0.0.1", "239.1.1.1", "eth0", ["eth1"])
        view = SimpleNamespace(routes={})
        connection = SimpleNamespace(emit=lambda *signal: emitted.append(signal))
        known = Properties(cast("Connection", connection), cast("View", view))
        view.routes[route.key] = Status(route, RouteState.ACTIVE)
        with pausing_everywhere(pause):
            await known.read_anew()
        assert pauses
        encoded = known.get("Routes")
        assert isinstance(encoded, bytes | bytearray)
        (routes,) = (each.value for each in decode("v", encoded))
        assert [each[1] for each in routes] == ["239.1.1.1"]
        while not emitted:  # noqa: ASYNC110 - there is no event of this
            await asyncio.sleep(properties._COALESCE)
        ((*_, member, _, (_, changed, invalid)),) = emitted
        assert (member, changed["Generation"].value) == ("PropertiesChanged", 1)
        assert "Routes" in invalid

    asyncio.run(scenario())
