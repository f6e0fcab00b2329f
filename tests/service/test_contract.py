"""The interface file is the contract: what is dispatched is what it says, to any client."""

import json
import os
import subprocess
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from lab.bus import DATA, PrivateBus
from lab.caller import INTERFACE, PATH, ROUTE, STANDARD, Caller, refused
from lab.daemon import BUS_NAME, Daemon
from lab.fake import FakeKeeper, FakeLinks
from lab.foreign import add_route, busctl, output, run

from mfc_dbus.bus.backend import Variant, decode
from mfc_dbus.bus.frames import MessageType
from mfc_dbus.bus.names import INTROSPECTABLE, PEER, PROPERTIES
from mfc_dbus.control.controller import Controller
from mfc_dbus.model import members
from mfc_dbus.service import logcontrol
from mfc_dbus.service.logcontrol import LogControl
from mfc_dbus.service.object import MulticastForwarding

XML = (DATA / f"{INTERFACE}.xml").read_text()
CONTRACT = ElementTree.fromstring(XML)
LOG_XML = (DATA / f"{logcontrol.INTERFACE}.xml").read_text()


def properties(node: ElementTree.Element, interface: str) -> dict[str, str]:
    """All properties of an interface, with their types."""
    return {
        each.attrib["name"]: each.attrib["type"]
        for each in node.iterfind(f"interface[@name='{interface}']/property")
    }


DOCUMENTED = properties(CONTRACT, INTERFACE)
LOG_DOCUMENTED = properties(ElementTree.fromstring(LOG_XML), logcontrol.INTERFACE)


def methods(node: ElementTree.Element) -> dict[str, tuple[str, str]]:
    """All methods of an object, with the signatures of what they take and give."""
    return {
        f"{interface.attrib['name']}.{method.attrib['name']}": (
            "".join(arg.attrib["type"] for arg in method.iterfind("arg[@direction='in']")),
            "".join(arg.attrib["type"] for arg in method.iterfind("arg[@direction='out']")),
        )
        for interface in node.iterfind("interface")
        for method in interface.iterfind("method")
    }


def service() -> MulticastForwarding:
    """A service that is looked at and never called."""
    nothing = cast(Any, None)
    controller = Controller([], FakeLinks(), FakeKeeper())
    return MulticastForwarding(nothing, nothing, controller, nothing)


# The object, against the table of members


def test_every_member_of_the_table_has_its_behaviour_and_no_other_is_dispatched() -> None:
    assert service().prepare_call.keys() == members.METHODS.keys()
    (told,) = decode("a{sv}", bytes(service()._properties.get_all()))
    assert {name: variant.signature for name, variant in told.items()} == DOCUMENTED


def test_the_properties_of_the_log_are_those_documented() -> None:
    of_log: dict[str, Any] = {name: LogControl().get(name)[0] for name in LOG_DOCUMENTED}
    assert {name: variant.signature for name, variant in of_log.items()} == LOG_DOCUMENTED
    assert LogControl().get_all() == [of_log]


# The object, on the bus


async def introspect(caller: Caller, path: str = PATH) -> str:
    (xml,) = await caller.ask("Introspect", interface=INTROSPECTABLE, path=path)
    return str(xml)


async def test_introspect_answers_with_the_documented_xml(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        for path, xml in ((PATH, XML), (logcontrol.OBJECT_PATH, LOG_XML)):
            answer = await introspect(caller, path)
            assert ElementTree.canonicalize(answer, strip_text=True) == ElementTree.canonicalize(
                xml, strip_text=True
            )


@pytest.mark.parametrize(
    ("path", "children"),
    [
        ("/", ["org"]),
        ("/org", ["example", "freedesktop"]),
        ("/org/example", ["MulticastForwarding"]),
        ("/org/freedesktop", ["LogControl1"]),
        ("/org/exam", []),
        (f"{PATH}/Routes", []),
        ("/somewhere/else", []),
    ],
)
async def test_the_way_to_the_object_can_be_found(
    path: str, children: list[str], bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        node = ElementTree.fromstring(await introspect(caller, path))
    assert [child.attrib["name"] for child in node.iterfind("node")] == children
    assert not list(node.iterfind("interface"))


async def test_every_documented_property_can_be_read_alone_and_with_all_others(
    bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add(comment="the gate's camera", ttls={"eth2": 16})
        (together,) = await caller.ask("GetAll", "s", [INTERFACE], interface=PROPERTIES)
        (of_any,) = await caller.ask("GetAll", "s", [""], interface=PROPERTIES)
        alone = {}
        for name in DOCUMENTED:
            (alone[name],) = await caller.ask("Get", "ss", [INTERFACE, name], interface=PROPERTIES)
    assert {name: variant.signature for name, variant in alone.items()} == DOCUMENTED
    # What the devices count goes on.
    for properties in (alone, together, of_any):
        assert len(properties.pop("Interfaces").value) == 2
    assert together == of_any == alone


@pytest.mark.parametrize("name", DOCUMENTED)
async def test_no_property_can_be_set(name: str, bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        body = [INTERFACE, name, Variant("s", "other")]
        call = caller.ask("Set", "ssv", body, interface=PROPERTIES)
        await refused(call, f"{STANDARD}.PropertyReadOnly", f"'{name}'")


GET_ALL = {"member": "GetAll", "interface": PROPERTIES, "signature": "s"}
GET = {"member": "Get", "interface": PROPERTIES, "signature": "ss"}
SET = {"member": "Set", "interface": PROPERTIES, "signature": "ssv"}
OTHER = "org.example.Other"

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"member": "FlushRoutes", "path": "/nowhere"}, "UnknownObject", "'/nowhere'"),
    ({"member": "Rest"}, "UnknownMethod", f"'{INTERFACE}.Rest'"),
    ({"member": "Rest", "interface": ""}, "UnknownMethod", "'Rest'"),
    (
        {"member": "Set", "interface": logcontrol.INTERFACE, "path": logcontrol.OBJECT_PATH},
        "UnknownMethod",
        "'org.freedesktop.LogControl1.Set'",
    ),
    (
        {"member": "FlushRoutes", "path": logcontrol.OBJECT_PATH},
        "UnknownMethod",
        f"'{INTERFACE}.Flush",
    ),
    (
        {"member": "FlushRoutes", "interface": "", "path": logcontrol.OBJECT_PATH},
        "UnknownMethod",
        f"'{INTERFACE}.Flush",
    ),
    ({"member": "AddRoute", "interface": OTHER}, "UnknownMethod", f"'{OTHER}.AddRoute'"),
    (
        {"member": "AddRoute"},
        "InvalidArgs",
        "AddRoute takes arguments of type 'sssasa{sv}', and not ''",
    ),
    (
        {"member": "Ping", "interface": PEER, "signature": "s", "body": ["?"]},
        "InvalidArgs",
        "Ping takes arguments of type '', and not 's'",
    ),
    (GET | {"body": [INTERFACE, "Colour"]}, "UnknownProperty", "'Colour'"),
    (SET | {"body": [INTERFACE, "Colour", Variant("s", "red")]}, "UnknownProperty", "'Colour'"),
    (GET | {"body": [OTHER, "Version"]}, "UnknownInterface", f"'{OTHER}'"),
    (SET | {"body": [OTHER, "Version", Variant("s", "9")]}, "UnknownInterface", f"'{OTHER}'"),
    (GET_ALL | {"body": [OTHER]}, "UnknownInterface", f"'{OTHER}'"),
    (GET_ALL | {"body": [logcontrol.INTERFACE]}, "UnknownInterface", "org.freedesktop.LogControl1"),
    (
        GET_ALL | {"body": [INTERFACE], "path": logcontrol.OBJECT_PATH},
        "UnknownInterface",
        f"'{INTERFACE}'",
    ),
    (GET_ALL | {"body": ["x" * 65536]}, "LimitsExceeded", "above 4096"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), WRONG)
async def test_what_is_not_there_is_a_standard_error_that_names_it(
    call: dict[str, Any], error: str, sentence: str, bus: PrivateBus, daemon: Daemon
) -> None:
    async with Caller.at(bus.address) as caller:
        await refused(caller.ask(**call), f"{STANDARD}.{error}", sentence)


async def test_a_call_may_leave_the_interface_out(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        assert await caller.ask("FlushRoutes", "a{sv}", [{}], interface="") == [0]
        assert await caller.ask("Ping", interface="") == []
        (version,) = await caller.ask("Get", "ss", ["", "Version"], interface="")
    assert version.signature == "s"


async def test_who_wants_no_reply_gets_none(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.follow()
        caller.arrived.clear()
        calls: list[tuple[str, list[Any]]] = [("sssasa{sv}", [*ROUTE, {}])] * 2 + [("", [])]
        for signature, body in calls:
            caller.notify(BUS_NAME, PATH, INTERFACE, "AddRoute", signature, body)
        await caller.until(lambda: bool(caller.told("RoutesAdded")))
        await caller.ping()
        assert [each.type for each in caller.arrived if each.reply_serial] == [
            MessageType.METHOD_RETURN
        ]


async def test_the_object_is_a_peer_at_any_path(bus: PrivateBus, daemon: Daemon) -> None:
    async with Caller.at(bus.address) as caller:
        for path in ("/", PATH, "/anywhere"):
            assert await caller.ask("Ping", interface=PEER, path=path) == []


# Clients that are not ours


def test_busctl_shows_the_tree_and_every_member(bus: PrivateBus, daemon: Daemon) -> None:
    assert PATH in busctl(bus.address, "tree", "--list", BUS_NAME).splitlines()
    rows = busctl(bus.address, "introspect", BUS_NAME, PATH, INTERFACE).splitlines()
    shown = {tuple(row.split()[:3]) for row in rows}
    assert (".AddRoute", "method", "sssasa{sv}") in shown
    assert (".RoutesAdded", "signal", "a(sssasa{sv})") in shown
    assert (".UnroutedTraffic", "signal", "sssu") in shown
    assert {(f".{name}", "property", type_) for name, type_ in DOCUMENTED.items()} <= shown


def test_a_route_can_be_typed_into_busctl(bus: PrivateBus, daemon: Daemon) -> None:
    output(bus.address, *add_route("239.1.2.3", ["eth2", "eth3"]))
    routes = busctl(
        bus.address, "--json=short", "get-property", BUS_NAME, PATH, INTERFACE, "Routes"
    )
    assert json.loads(routes)["data"] == [
        [
            "10.1.0.10",
            "239.1.2.3",
            "eth1",
            ["eth2", "eth3"],
            {"state": {"type": "s", "data": "active"}},
        ]
    ]
    again = run(bus.address, *add_route("239.1.2.3"))
    assert again.returncode == 1
    assert "Route (10.1.0.10, 239.1.2.3) exists already" in again.stderr


def test_busctl_sees_the_signals(bus: PrivateBus, daemon: Daemon) -> None:
    match = f"type='signal',interface='{INTERFACE}'"
    with subprocess.Popen(
        ["busctl", "--system", "--json=short", "monitor", "--match", match],
        env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": bus.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as monitor:
        assert monitor.stdout
        assert monitor.stderr
        try:
            assert "Monitoring bus message stream" in monitor.stderr.readline()
            output(bus.address, *add_route("239.1.2.3"))
            cause, seen = (json.loads(monitor.stdout.readline()) for _ in range(2))
        finally:
            monitor.terminate()
    assert (cause["member"], seen["member"]) == ("ChangeCaused", "RoutesAdded")
    assert cause["path"] == seen["path"] == PATH
    assert seen["payload"]["data"][0][0][:4] == ["10.1.0.10", "239.1.2.3", "eth1", ["eth2"]]


def test_gdbus_introspects_and_calls(bus: PrivateBus, daemon: Daemon) -> None:
    where = ["--system", "--dest", BUS_NAME, "--object-path", PATH]
    xml = output(bus.address, "gdbus", "introspect", *where, "--xml")
    assert methods(ElementTree.fromstring(xml)) == methods(CONTRACT)
    add = ["gdbus", "call", *where, "--method", f"{INTERFACE}.AddRoute"]
    answer = output(bus.address, *add, "*", "ff1e::123", "eth1", "['eth2']", "{'comment': <'hi'>}")
    assert answer == "()\n"
    flush = ["gdbus", "call", *where, "--method", f"{INTERFACE}.FlushRoutes"]
    assert output(bus.address, *flush, "{'group': <'ff1e::/16'>}") == "(uint32 1,)\n"


# A GLib proxy: it adds a route, and prints what it saw when that is in its cache.
PROXY = f"""
import json
from gi.repository import Gio, GLib

loop = GLib.MainLoop()
signals, changes = [], {{}}

def keep(_, changed, invalidated):
    changes.update(changed.unpack())
    if changes.get("Routes") and "Generation" in changes:
        loop.quit()

proxy = Gio.DBusProxy.new_for_bus_sync(
    Gio.BusType.SYSTEM, Gio.DBusProxyFlags.GET_INVALIDATED_PROPERTIES, None,
    "{BUS_NAME}", "{PATH}", "{INTERFACE}")
proxy.connect("g-signal", lambda _, sender, name, body: signals.append([name, *body.unpack()]))
proxy.connect("g-properties-changed", keep)
cached = sorted(proxy.get_cached_property_names())
proxy.AddRoute("(sssasa{{sv}})", "10.1.0.10", "239.1.2.3", "eth1", ["eth2"], {{}})
GLib.timeout_add_seconds(10, loop.quit)
loop.run()
routes = proxy.get_cached_property("Routes").unpack()
print(json.dumps({{"cached": cached, "signals": signals, "changes": changes, "routes": routes}}))
"""


def test_a_glib_proxy_sees_properties_and_signals(bus: PrivateBus, daemon: Daemon) -> None:
    if run(bus.address, "/usr/bin/python3", "-c", "import gi").returncode:
        pytest.skip("/usr/bin/python3 has no module gi")
    told = json.loads(output(bus.address, "/usr/bin/python3", "-c", PROXY))
    route = ["10.1.0.10", "239.1.2.3", "eth1", ["eth2"], {"state": "active"}]
    assert told["cached"] == sorted(DOCUMENTED)
    (cause, _), added = told["signals"]
    assert (cause, added) == ("ChangeCaused", ["RoutesAdded", [route]])
    assert told["changes"]["Generation"] > 0
    assert told["routes"] == told["changes"]["Routes"] == [route]
