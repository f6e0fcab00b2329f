"""The applet on a desktop, worked by AT-SPI: the real service, and real packets.

cam-a, cam-b, audio, remote ── router, mfc-dbusd ── control, record, monitor, uplink
"""

import asyncio
import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from lab import witness
from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import Daemon
from lab.desktop import Desktop, Hand, missing, take_pictures
from lab.netns import Namespace
from lab.password_agent import PasswordAgent
from lab.polkit import serving
from lab.privileges import NOBODY
from lab.studio import FEW, Flow, Studio, document

CAMERA, SECOND, _ = FEW
_TAB, _DOWN, _SPACE, _ESCAPE = 0xFF09, 0xFF54, 0x20, 0xFF1B  # keysymdef.h
SETTINGS = 'discovery.interfaces = ["remote"]\n'
RULES = """
polkit.addRule(function(action, subject) {
    if (subject.user == "nobody" && action.lookup("group") == "239.2.2.2")
        return polkit.Result.YES;
    return polkit.Result.NOT_HANDLED;
});
"""
USERS = {"mfc-dbus": 64201}

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


class Scene:
    """The studio, the service, and a desktop with the applet."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.studio = Studio(stack)
        self.bus = stack.enter_context(PrivateBus())
        self.home = stack.enter_context(Daemon(self.bus.address, self.studio.router))
        self.home.configure(SETTINGS)
        self.cli = CLI(self.bus.address)
        assert self.cli("reload").returncode == 0
        self.desktop = Desktop(stack, self.bus.address)
        self.hand = Hand(self.desktop)

    def start(self, *routes: Any) -> Hand:
        """Have these routes, and start the applet."""
        if routes:
            done = self.cli("apply", "-", given=json.dumps({"route": [*routes]}))
            assert done.returncode == 0, done.stderr
        self.desktop.start_applet()
        self.hand.see("Multicast Forwarding", "frame")
        self.hand.miss("The service does not run")
        return self.hand

    def activate(self, action: str, parameter: str = "") -> subprocess.CompletedProcess[str]:
        """Activate an action of the applet over the session bus."""
        name = "org.example.MulticastForwarding.Applet"
        return subprocess.run(
            [
                *("gdbus", "call", "--session", "--dest", name),
                *("--object-path", f"/{name.replace('.', '/')}"),
                *("--method", "org.gtk.Actions.Activate", action),
                *(f"[<{parameter}>]" if parameter else "@av []", "{}"),
            ],
            env=self.desktop.environment,
            capture_output=True,
            text=True,
        )

    @property
    def entries(self) -> dict[str, set[str]]:
        """The oifs of each group, by the kernel's word."""
        return {
            entry.group: {name for name, _ in entry.oifs}
            for entry in witness.entries(self.studio.router, socket.AF_INET)
        }


@pytest.fixture
def scene(network: Namespace) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack)


def test_a_route_that_is_added_is_a_band_that_grows_with_its_stream(scene: Scene) -> None:
    hand = scene.start()
    hand.press("Routes", "page tab")
    hand.open("Add a route", "Add Route")
    hand.write("Group, or a prefix", "239.10.1")
    hand.see("Group '239.10.1' is not an IPv4 or IPv6 address")
    hand.see("Add", "button", sensitive=False)
    hand.write("Group, or a prefix", CAMERA.group)
    hand.miss("is not an IPv4 or IPv6 address")
    hand.write("Source", CAMERA.source)
    hand.write("Arrives on", CAMERA.iif)
    hand.write("Other interfaces", "control, record")
    hand.press("Add")
    hand.see(f"Added {CAMERA.group} from {CAMERA.source}")
    hand.press("Picture", "page tab")
    band = f"{CAMERA.group} from {CAMERA.source}, arrives on cam-a, leaves by control, record, "
    hand.see(f"{band}nothing arrives", "button")
    assert scene.entries[CAMERA.group] == {"control", "record"}
    scene.studio.play([CAMERA._replace(packets=4)])
    assert hand.see("kbit/s", "button").startswith(band)
    scene.studio.play([CAMERA])
    assert hand.see("Mbit/s", "button").startswith(band)


def test_an_oif_goes_and_comes_by_its_box(scene: Scene) -> None:
    hand = scene.start(*document([CAMERA, SECOND], [["control", "record"]]))
    hand.press(f"{CAMERA.group} from", "button")
    hand.press("Leaves by record", "check box")
    hand.see("leaves by record no longer")
    hand.see(f"{CAMERA.group} from {CAMERA.source}, arrives on cam-a, leaves by control, no")
    assert scene.entries[CAMERA.group] == {"control"}
    assert scene.entries[SECOND.group] == {"control", "record"}
    hand.press("Leaves by record", "check box")
    hand.see("leaves by record too")
    assert scene.entries[CAMERA.group] == {"control", "record"}


def test_bands_are_reached_by_keyboard(scene: Scene) -> None:
    hand = scene.start(*document(FEW, [["control"]]))
    bands = [f"{flow.group} from {flow.source}, arrives on {flow.iif}" for flow in FEW]
    hand.see(bands[0], "button")
    focused = ""
    for _ in range(12):
        if focused.startswith(bands[2]):  # the first by its interface
            break
        focused = hand.key(_TAB)
    for band in bands[:2]:
        assert hand.key(_DOWN).startswith(band)
    hand.key(_SPACE)
    hand.see(f"{SECOND.group} from {SECOND.source}", "label")
    hand.see("Delete Route", "button")
    hand.key(_ESCAPE)
    hand.miss("Delete Route", "button")


def test_a_route_that_was_deleted_comes_back(scene: Scene) -> None:
    hand = scene.start(*document([CAMERA], [["control"]]))
    hand.press(f"{CAMERA.group} from", "button")
    hand.press("Delete Route")
    hand.see(f"Deleted {CAMERA.group}")
    hand.miss("arrives on cam-a", "button")
    assert CAMERA.group not in scene.entries
    hand.press("Undo")
    hand.see(f"{CAMERA.group} from {CAMERA.source}, arrives on cam-a, leaves by control", "button")
    assert scene.entries[CAMERA.group] == {"control"}


def test_what_was_known_stays_while_the_service_is_away(scene: Scene) -> None:
    hand = scene.start(*document([CAMERA], [["control"]]))
    band = f"{CAMERA.group} from {CAMERA.source}, arrives on cam-a"
    hand.see(band, "button")
    scene.home.kill()
    hand.see("The service does not run")
    hand.press(band, "button")
    hand.see("Delete Route", sensitive=False)
    again = Daemon(scene.bus.address, scene.studio.router, home=scene.home.home)
    scene.stack.enter_context(again)
    hand.miss("The service does not run")
    hand.see("Delete Route", sensitive=True)


def test_an_unrouted_stream_gets_a_route(scene: Scene) -> None:
    stray = Flow("remote", "10.0.4.11", "239.30.0.1")
    hand = scene.start(*document([CAMERA], [["control", "record"]]))
    hand.see(CAMERA.group, "button")
    scene.studio.play([stray])
    hand.press(f"{stray.group} from {stray.source}, arrives on remote, no route covers it")
    hand.open("Route It…", "Add Route")
    hand.press("Leaves by record", "check box")
    hand.press("Add")
    hand.see(f"{stray.group} from {stray.source}, arrives on remote, leaves by record, ")
    assert scene.entries[stray.group] == {"record"}
    hand.miss("no route covers it", "button")


def test_a_remedy_of_explain_is_carried_out(scene: Scene) -> None:
    (route,) = document([CAMERA], [["control"]])
    hand = scene.start(route | {"enabled": False})
    hand.press("Routes", "page tab")
    hand.press(f"{CAMERA.group} from {CAMERA.source}, cam-a → control, Switched off", "list item")
    hand.press("Explain")
    hand.press("Change the Route")
    hand.see(f"Changed {CAMERA.group}")
    hand.see("Active", "label")
    assert scene.entries[CAMERA.group] == {"control"}


def test_a_document_shows_what_it_would_change_and_changes_it(scene: Scene) -> None:
    hand = scene.start(*document([CAMERA, SECOND], [["control"]]))
    hand.open("All routes as a document", "Routes as a Document")
    hand.write("The document", "[[route]]\ngroup = 7\n")
    hand.see("route[0].group")
    first, _second = document([CAMERA, SECOND], [["record"]])
    hand.write("The document", json.dumps({"route": [first]}))
    hand.see(f"~ {CAMERA.group} from {CAMERA.source}, cam-a → control  ⇒")
    hand.see(f"− {SECOND.group} from {SECOND.source}")
    assert scene.entries[CAMERA.group] == {"control"}
    hand.press("Apply")
    hand.see("Applied: 0 added, 1 changed, 1 deleted")
    assert scene.entries == {CAMERA.group: {"record"}}


def test_a_group_is_joined_and_left(scene: Scene) -> None:
    hand = scene.start()
    hand.press("Memberships", "page tab")
    hand.open("Join a group", "Join Group")
    hand.write("Interface", "cam-*")
    hand.see("'cam-*' is a pattern, and here one interface is due")
    hand.write("Group, or a prefix", "239.7.7.7")
    hand.write("Interface", "cam-a")
    hand.press("Join")
    hand.see("Joined 239.7.7.7")
    assert joined(scene.studio.router, "cam-a") == {"239.7.7.7"}
    hand.press("239.7.7.7 from any source, on cam-a, Joined", "list item")
    hand.press("Leave Group")
    hand.see("Left 239.7.7.7")
    assert joined(scene.studio.router, "cam-a") == set()


def joined(router: Namespace, interface: str) -> set[str]:
    """The groups that the kernel has joined, but for that of all hosts."""
    (found,) = router.ip_json(f"maddress show dev {interface}", "-4")
    return {each["address"] for each in found["maddr"]} - {"224.0.0.1"}


def test_another_program_has_a_stream_explained_and_routed(scene: Scene) -> None:
    hand = scene.start(*document([CAMERA], [["control"]]))
    stream = f"('{CAMERA.source}', '{CAMERA.group}', '{CAMERA.iif}')"
    assert scene.activate("explain", stream).returncode == 0
    hand.see("Nothing at all arrived on 'cam-a'", "label")
    assert scene.activate("route-unrouted", "('10.0.4.9', '239.9.9.9', 'remote')").returncode == 0
    hand.see("Add Route", "frame")
    hand.see("239.9.9.9", "text")
    assert scene.activate("quit").returncode == 0
    hand.miss("Multicast Forwarding", "frame")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_drawn_as_narrow_as_a_telephone_and_as_wide_as_a_wall(
    scene: Scene, tmp_path: Path, dark: bool
) -> None:
    done = scene.cli("apply", "-", given=json.dumps({"route": document(FEW, [["control"]])}))
    assert done.returncode == 0
    widths = (360, 1240)
    shots = [
        {
            "file": str(tmp_path / f"{width}.png"),
            "page": "picture",
            "width": width,
            "height": 600,
            "dark": dark,
        }
        for width in widths
    ]
    take_pictures(scene.desktop, shots)
    for width in widths:
        header = (tmp_path / f"{width}.png").read_bytes()[:24]
        assert struct.unpack(">II", header[16:]) == (width, 600)


def test_very_many_routes_are_some_rows(scene: Scene) -> None:
    routes = document(
        [CAMERA._replace(group=f"239.50.{n // 250}.{n % 250 + 1}") for n in range(10_000)],
        [["control"]],
    )
    hand = scene.start(*routes)
    hand.press("Routes", "page tab")
    hand.see("10\u202f000", "label")
    assert 10 < len(hand.names("list item")) < 600
    hand.write("Search Routes", "239.50.39.250")
    hand.see("239.50.39.250 from")
    assert len(hand.names("list item")) == 1


@pytest.mark.usefixtures("nobody")
async def test_who_must_type_a_password_unlocks_first_but_for_what_a_rule_grants() -> None:
    with (
        serving(USERS, {}, RULES, "dbus_fast") as service,
        ExitStack() as stack,
    ):
        root = CLI(service.bus.address)
        for group in ("239.1.1.1", "239.2.2.2"):
            added = root("mfc", "add", "--group", group, "--iif", "eth1", "--oifs", "eth2")
            assert added.returncode == 0, added.stderr
        desktop = Desktop(stack, service.bus.address, uid=NOBODY)
        hand = Hand(desktop)
        applet = desktop.start_applet()
        band = "239.1.1.1 from any source"
        await asyncio.to_thread(hand.press, band)
        await asyncio.to_thread(hand.see, "Delete Route", sensitive=False)
        await asyncio.to_thread(hand.press, "239.2.2.2 from any source")
        await asyncio.to_thread(hand.press, "Delete Route")
        await asyncio.to_thread(hand.see, "Deleted 239.2.2.2")
        await asyncio.to_thread(hand.press, band)
        await asyncio.to_thread(hand.see, "Delete Route", sensitive=False)
        async with PasswordAgent.at(service.bus.address, applet.pid, NOBODY) as agent:
            agent.knows = False
            await asyncio.to_thread(hand.press, "Unlock to change routes")
            await asyncio.to_thread(hand.see, "It stays locked: ")
            await asyncio.to_thread(hand.see, "Delete Route", sensitive=False)
            agent.knows = True
            await asyncio.to_thread(hand.press, "Unlock to change routes")
            await asyncio.to_thread(hand.press, "Delete Route")
            await asyncio.to_thread(hand.see, "Deleted 239.1.1.1")
            await asyncio.to_thread(hand.miss, "Unlock to change routes")
