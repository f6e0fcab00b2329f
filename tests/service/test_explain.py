"""Explain finds each cause that is made with real packets, and its remedy has the stream flow.

    up0 ──┐ router,  ┌── down0
          ├ mfc-dbusd┤
    up1 ──┘          └── down1

A stream of some hundred packets a second goes on while somebody asks. The route, where the cause
does not want another, is from up0 to down0 and down1.
"""

import asyncio
import shlex
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lab.bus import PrivateBus
from lab.caller import OWN, STANDARD, Caller
from lab.cli import CLI
from lab.daemon import BUS_NAME, CONFIGURATION, Daemon
from lab.installed import eventually
from lab.packets import Flow
from lab.scene import RATE, SECONDS, Scene, settings
from lab.switch import Switch
from lab.topology import Topology

from mfc_dbus.bus.errors import BusError
from mfc_dbus.kernel.mroute import MRoute

V4, V6 = socket.AF_INET, socket.AF_INET6
BOTH = (V4, V6)


Make = Callable[[Scene], None]


class Cause(NamedTuple):
    """A cause: what makes it, the code that is found first, and what has the stream flow again.

    words: what the words in capitals of the finding's remedy are replaced by before that is typed.
    then: what is done after it, where the remedy only shows more, or there is none, since what is
    wrong is not on this machine, or is for its operator to choose.
    """

    name: str
    code: str
    make: Make
    then: Make | None = None
    words: Mapping[str, str] = {}
    families: Sequence[socket.AddressFamily] = BOTH

    def __str__(self) -> str:
        return self.name


def plain(scene: Scene) -> None:
    scene.add()


def any_source(scene: Scene) -> None:
    scene.add(source="*")


def prefixes(scene: Scene) -> None:
    groups = "ff1e::100/120" if scene.is_ipv6 else "239.1.2.0/24"
    words = f"mfc add --group {groups} --iif up* --oifs down*"
    scene.type("mfc-dbus-cli", *shlex.split(words))


def nothing(scene: Scene) -> None:
    """There is no route."""


def another_source(scene: Scene) -> None:
    scene.add(source=scene.lab.addresses.other_source)


def stopped_alone(scene: Scene) -> None:
    scene.add(oifs=())


def stopped_under_a_wider_one(scene: Scene) -> None:
    scene.add(source="*")
    scene.add(oifs=())


def disabled(scene: Scene) -> None:
    scene.add("--disable")


def ip(*commands: str) -> Make:
    def make(scene: Scene) -> None:
        scene.add("--wait")
        scene.lab.router.ip(*commands)

    return make


def outside(*commands: str) -> Make:
    def make(scene: Scene) -> None:
        scene.add()
        scene.lab.outside.ip(*commands)

    return make


def unplugged(scene: Scene) -> None:
    scene.add()
    scene.sends = False
    scene.lab.outside.ip("link set dev up0 down")


def plugged_in(scene: Scene) -> None:
    scene.sends = True
    scene.lab.outside.ip("link set dev up0 up")


def missing_iif(scene: Scene) -> None:
    scene.add("--wait", iif="up7")


def missing_oif(scene: Scene) -> None:
    scene.add("--wait", oifs=("down0", "down7"))


def no_ipv6(name: str) -> Make:
    def make(scene: Scene) -> None:
        scene.add()
        scene.lab.router.sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)

    return make


def bridge_port(scene: Scene) -> None:
    scene.lab.router.ip(
        "link add name br0 type bridge mcast_snooping 0",
        "link set dev br0 up",
        "link set dev up0 master br0",
    )
    scene.add()


def wrong_interface(scene: Scene) -> None:
    scene.upstream = "up1"
    scene.add()


def arrives_on_another(scene: Scene) -> None:
    """Any source: the kernel asks, since its entry is for another interface."""
    scene.upstream = "up1"
    scene.add(source="*")


def arrives_by_an_oif(scene: Scene) -> None:
    scene.upstream = "up1"
    scene.add(source="*", oifs=("up1", "down0", "down1"))


def arrives_unheard(scene: Scene) -> None:
    """On an interface that the table does not know."""
    scene.configure(watched="")
    scene.upstream = "up1"
    scene.add()


def ttl_1(scene: Scene) -> None:
    scene.ttl = 1
    scene.add()


def greater_ttl(scene: Scene) -> None:
    scene.ttl = 64


def threshold(scene: Scene) -> None:
    scene.ttl = 16
    scene.add("--ttl", "down1=16")


def rp_filter(name: str, value: int, *commands: str) -> Make:
    def make(scene: Scene) -> None:
        scene.add()
        scene.lab.router.ip(
            "address add 10.9.0.1/24 dev up0", "address add 10.8.0.1/24 dev up1", *commands
        )
        scene.lab.router.sysctl(f"ipv4/conf/{name}/rp_filter", value)

    return make


def elsewhere_by(name: str) -> str:
    return f"route add 10.1.0.0/16 dev {name}"


def send_from_there(scene: Scene) -> None:
    scene.upstream = "up0"


def not_multicast(scene: Scene) -> None:
    scene.add()
    scene.asked = [scene.source, scene.source]


def asked_rightly(scene: Scene) -> None:
    scene.asked = [scene.source, scene.group]


def asks(source: str, group: str) -> Make:
    """Ask about other addresses than those of the route."""

    def make(scene: Scene) -> None:
        scene.add()
        scene.asked = [source or scene.source, group or scene.group]

    return make


def no_room(scene: Scene) -> None:
    """An interface comes when there are 32 VIFs already."""
    names = [f"x{n}" for n in range(29)]
    scene.lab.add_links(*names)
    scene.add("--wait", oifs=("down0", "down1", "late0"))
    group = "ff1e::7:0" if scene.is_ipv6 else "239.7.0.1"
    words = ["--group", group, "--iif", names[0], "--oifs", *names[1:]]
    scene.type("mfc-dbus-cli", "mfc", "add", *words)
    scene.lab.add_links("late0")


def give_room(scene: Scene) -> None:
    scene.type("mfc-dbus-cli", "mfc", "flush", "--iif", "x0")


def other_table(scene: Scene) -> None:
    scene.add("--table", "100")
    scene.asked += ["--table", "100"]


def foreign_rule(scene: Scene) -> None:
    scene.add()
    ip = "-6" if scene.is_ipv6 else "-4"
    scene.type("ip", ip, "mrule", "add", "blackhole", "iif", "up0", "pref", "500")


def without_the_rule(scene: Scene) -> None:
    scene.add()
    scene.type("ip", "-6" if scene.is_ipv6 else "-4", "mrule", "del", "pref", "32767")


def foreign_table(scene: Scene) -> None:
    """Another program has a table, and a rule leads there."""
    scene.add()
    with scene.lab.router:
        other = scene.stack.enter_context(MRoute(scene.lab.family, 200))
    other.init()
    family = "-6" if scene.is_ipv6 else "-4"
    scene.type("ip", family, "mrule", "add", "iif", "up0", "table", "200", "pref", "500")


def rule(hook: str, device: str = "") -> Make:
    """A firewall that drops the stream at a hook. device: of ingress and egress."""

    def make(scene: Scene) -> None:
        scene.add()
        ip = "ip6" if scene.is_ipv6 else "ip"
        table = "netdev lab" if device else f"{ip} lab"
        where = f"device {device} " if device else ""
        commands = (
            f"add table {table}",
            f"add chain {table} {hook} {{ type filter hook {hook} {where}priority 0; }}",
            f"add rule {table} {hook} {ip} daddr {scene.group} drop",
        )
        scene.type("nft", "; ".join(commands))

    return make


def filter_of_tc(device: str, direction: str) -> Make:
    """A program that drops everything."""

    def make(scene: Scene) -> None:
        scene.add()
        scene.type(*shlex.split(f"tc qdisc add dev {device} clsact"))
        words = f"tc filter add dev {device} {direction} bpf direct-action bytecode"
        scene.type(*words.split(), "1,6 0 0 2")

    return make


def an_address_upstream(scene: Scene) -> None:
    scene.add()
    address = "fd01::1/64 dev up0 nodad" if scene.is_ipv6 else "10.1.0.1/24 dev up0"
    scene.lab.router.ip(f"address add {address}")


def no_unicast_forwarding(scene: Scene) -> None:
    scene.add()
    name = "ipv6/conf/all/forwarding" if scene.is_ipv6 else "ipv4/ip_forward"
    scene.lab.router.sysctl(name, 0)


def full_queue(scene: Scene) -> None:
    scene.add()
    scene.type(*shlex.split("tc qdisc add dev down1 root tbf rate 8kbit burst 200 limit 200"))


def long_packets(scene: Scene) -> None:
    scene.add()
    scene.padding = 1400
    scene.lab.router.ip(f"link set dev down1 mtu {1280 if scene.is_ipv6 else 1000}")


def another_sender(scene: Scene) -> None:
    scene.add()
    scene.sender = scene.lab.addresses.other_source


def ask_about_that_sender(scene: Scene) -> None:
    scene.asked = [scene.sender, scene.group]


def framed(scene: Scene, mac: bytes, checksum: int = 0) -> bytes:
    """A frame with a packet of the stream: its MAC address, and what its checksum is off by."""
    source, group = (ip_address(each).packed for each in (scene.source, scene.group))
    udp = struct.pack("!HHHH", 5000, 5000, 8, 0)
    ethernet = mac + bytes.fromhex("020000000001")
    if scene.is_ipv6:
        header = struct.pack("!IHBB16s16s", 6 << 28, len(udp), 17, 64, source, group)
        return ethernet + b"\x86\xdd" + header + udp
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, source, group)
    words = sum(struct.unpack("!10H", header))
    right = ~(words % 0xFFFF) & 0xFFFF
    header = header[:10] + struct.pack("!H", (right + checksum) & 0xFFFF) + header[12:]
    return ethernet + b"\x08\x00" + header + udp


def right_mac(scene: Scene) -> bytes:
    group = ip_address(scene.group).packed
    if scene.is_ipv6:
        return b"\x33\x33" + group[-4:]
    return bytes.fromhex("01005e") + bytes([group[1] & 0x7F]) + group[2:]


def bad_checksum(scene: Scene) -> None:
    scene.add()
    scene.frame = framed(scene, right_mac(scene), 1)


def wrong_mac(scene: Scene) -> None:
    scene.add()
    scene.frame = framed(scene, bytes.fromhex("020000000099"))


def good_frames(scene: Scene) -> None:
    scene.frame = framed(scene, right_mac(scene))


def not_sent(scene: Scene) -> None:
    scene.add()
    scene.sends = False


def sent(scene: Scene) -> None:
    scene.sends = True


def without_flag(name: str) -> Make:
    """An interface that says of itself that it carries no multicast."""
    return ip(f"link set dev {name} multicast off")


def own_address(scene: Scene) -> None:
    scene.add()
    nodad = " nodad" if scene.is_ipv6 else ""
    scene.lab.router.ip(f"address add {scene.source} dev up1{nodad}")


def address_of_the_sender(scene: Scene) -> None:
    nodad = "/128" if scene.is_ipv6 else "/32"
    scene.lab.router.ip(f"address del {scene.source}{nodad} dev up1")


def sent_by_the_router(scene: Scene) -> None:
    """By another interface than the iif."""
    own_address(scene)
    scene.sends = False
    level, option = (socket.IPPROTO_IP, socket.IP_MULTICAST_IF)
    which = struct.pack("4s4si", bytes(4), bytes(4), scene.lab.ifindex("up1"))
    if scene.is_ipv6:
        level, option = (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF)
        which = struct.pack("i", scene.lab.ifindex("up1"))
    with scene.lab.router:
        sock = scene.stack.enter_context(socket.socket(scene.lab.family, socket.SOCK_DGRAM))
    sock.setsockopt(level, option, which)
    hops = socket.IPV6_MULTICAST_HOPS if scene.is_ipv6 else socket.IP_MULTICAST_TTL
    sock.setsockopt(level, hops, 64)
    sock.bind((scene.source, 0))
    flow = Flow(lambda: sock.sendto(b"own", (scene.group, 5000)), 1 / RATE)
    scene.stack.callback(flow.stop)
    flow.wait_for(5)


def one_is_learned(scene: Scene) -> None:
    scene.configure(learned=1)
    groups = "ff1e::100/120" if scene.is_ipv6 else "239.1.2.0/24"
    words = f"mfc add --group {groups} --iif up0 --oifs down0 down1"
    scene.type("mfc-dbus-cli", *shlex.split(words))
    other = scene.lab.sender(group=scene.lab.addresses.other_group)
    scene.stack.enter_context(other.flow(RATE)).wait_for(5)


def two_are_learned(scene: Scene) -> None:
    scene.configure(learned=2)
    with scene.flow():  # the kernel asks again when 10 s have passed
        eventually(lambda: len(scene.cli.json("show", "learned")) == 2)


CAUSES = [
    Cause("flowing", "flowing", plain),
    # What is no cause, whatever one may think.
    Cause("iif without MULTICAST", "flowing", without_flag("up0")),
    Cause("oif without MULTICAST", "flowing", without_flag("down1")),
    Cause("iif with an address, oifs without", "flowing", an_address_upstream),
    Cause("no unicast forwarding", "flowing", no_unicast_forwarding),
    Cause("an input chain drops", "flowing", rule("input")),
    Cause("flowing, from any source", "flowing", any_source),
    Cause("flowing, by prefixes and a pattern", "flowing", prefixes),
    Cause("no route", "no-route", nothing, words={"IF": "down0 down1"}),
    Cause("route of another source", "no-route", another_source, words={"IF": "down0 down1"}),
    Cause("stopped", "stopped", stopped_alone, words={"IF": "down0"}),
    Cause("stopped, under a wider route", "stopped", stopped_under_a_wider_one),
    Cause("disabled", "disabled", disabled),
    Cause("not multicast", "not-multicast", not_multicast, asked_rightly),
    Cause(
        "link-local group", "never-forwarded", asks("", "224.0.0.77"), asked_rightly, families=[V4]
    ),
    Cause(
        "link-local group", "never-forwarded", asks("", "ff02::77"), asked_rightly, families=[V6]
    ),
    Cause(
        "link-local source", "never-forwarded", asks("fe80::1", ""), asked_rightly, families=[V6]
    ),
    Cause("multicast source", "wrong-source", asks("239.1.1.1", ""), asked_rightly, families=[V4]),
    Cause("multicast source", "wrong-source", asks("ff1e::1", ""), asked_rightly, families=[V6]),
    Cause("iif missing", "iif-missing", missing_iif, words={"IF": "up0"}),
    Cause("oif missing", "oif-missing", missing_oif, words={"IF": "down1"}),
    Cause("iif down", "interface-down", ip("link set dev up0 down")),
    Cause("oif down", "interface-down", ip("link set dev down0 down")),
    Cause(
        "iif without carrier",
        "no-carrier",
        unplugged,
        plugged_in,
    ),
    Cause(
        "oif without carrier",
        "no-carrier",
        outside("link set dev down1 down"),
        lambda scene: scene.lab.outside.ip("link set dev down1 up"),
    ),
    Cause("iif without IPv6", "oif-ipv6-disabled", no_ipv6("up0"), families=[V6]),
    Cause("oif without IPv6", "oif-ipv6-disabled", no_ipv6("down1"), families=[V6]),
    Cause("iif is a bridge's port", "bridge-port", bridge_port),
    Cause("no room", "no-room", no_room, give_room),
    Cause("table not chosen", "table-not-chosen", other_table),
    Cause("a rule drops it", "mrule", foreign_rule),
    Cause("no rule at all", "mrule", without_the_rule),
    Cause("a rule leads it elsewhere", "mrule", foreign_table),
    Cause("wrong interface", "wrong-interface", wrong_interface),
    Cause("arrives elsewhere", "arrives-elsewhere", arrives_on_another),
    Cause("arrives by an oif", "wrong-interface", arrives_by_an_oif),
    Cause("arrives where nobody listens", "arrives-elsewhere", arrives_unheard, families=[V4]),
    # IPv6 counts what comes by any interface.
    Cause("arrives where nobody listens", "wrong-interface", arrives_unheard, families=[V6]),
    Cause("TTL 1", "ttl-expired", ttl_1, greater_ttl),
    Cause("TTL threshold", "ttl-threshold", threshold, families=[V4]),
    Cause(
        "rp_filter, strict", "rp-filter", rp_filter("up0", 1, elsewhere_by("up1")), families=[V4]
    ),
    Cause("rp_filter, loose, no way back", "rp-filter", rp_filter("up0", 2), families=[V4]),
    Cause("rp_filter of all", "rp-filter", rp_filter("all", 1, elsewhere_by("up1")), families=[V4]),
    Cause("no sender", "nothing-arrives", not_sent, sent),
    Cause("another source", "source-differs", another_sender, ask_about_that_sender),
    Cause(
        "an address of this machine",
        "wrong-source",
        own_address,
        address_of_the_sender,
        families=[V4],
    ),
    Cause(
        "sent by this machine",
        "wrong-source",
        sent_by_the_router,
        words={"IF": "up1"},
        families=[V4],
    ),
    Cause("sent by this machine", "wrong-interface", sent_by_the_router, families=[V6]),
    # IPv6 takes it.
    Cause("an address of this machine", "flowing", own_address, families=[V6]),
    Cause("rule at ingress", "ingress", rule("ingress", "up0")),
    Cause("filter at ingress", "ingress", filter_of_tc("up0", "ingress")),
    Cause("rule at prerouting", "prerouting", rule("prerouting")),
    Cause("rule at forward", "forward", rule("forward")),
    Cause("rule at postrouting", "postrouting", rule("postrouting")),
    Cause("rule at egress", "egress", rule("egress", "down1")),
    Cause("filter at egress", "egress", filter_of_tc("down1", "egress")),
    Cause("a wrong checksum", "checksum", bad_checksum, good_frames, families=[V4]),
    Cause("a wrong MAC address", "otherhost", wrong_mac, good_frames),
    Cause("a full queue", "queue-full", full_queue),
    Cause("packets longer than the MTU", "too-big", long_packets, words={"MTU": "1500"}),
    Cause("as many are learned as may be", "limit", one_is_learned, two_are_learned),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / CONFIGURATION).write_text(settings())
    return tmp_path


@pytest.fixture
def scene(lab: Topology, own_bus: PrivateBus, home: Path) -> Iterator[Scene]:
    with Daemon(own_bus.address, lab.router, home=home) as daemon:
        scene = Scene(lab, daemon, CLI(own_bus.address))
        with scene.stack:
            yield scene
        assert "Traceback" not in daemon.log


def pairs() -> list[Any]:
    names = {V4: "ipv4", V6: "ipv6"}
    return [
        pytest.param(family, cause, id=f"{names[family]}: {cause}")
        for cause in CAUSES
        for family in cause.families
    ]


@pytest.mark.parametrize(("family", "cause"), pairs())
def test_each_cause_is_found_first_and_after_its_remedy_the_stream_flows(
    scene: Scene, cause: Cause
) -> None:
    cause.make(scene)
    with scene.flow():
        found = scene.explain()
    assert found[0]["code"] == cause.code, found
    assert scene.returncode == (6 if cause.code == "no-route" else cause.code != "flowing")
    scene.type_remedy(cause.words)
    if cause.then is not None:
        cause.then(scene)
    scene.lab.wait_until_up()
    with scene.flow():
        found = scene.explain()
    assert [each["code"] for each in found] == ["flowing"], found
    assert found[0]["evidence"]["packets"] > RATE * SECONDS / 4
    assert scene.returncode == 0


def test_another_owner_of_the_table_is_named_to_root_and_after_the_remedy_the_stream_flows(
    lab: Topology, own_bus: PrivateBus, home: Path
) -> None:
    files = ["-f", str(home / "conf"), "-P", str(home / "pid"), "-u", str(home / "socket")]
    (home / "conf").write_text("phyint lo disable\n")
    with ExitStack() as stack, lab.router:
        if lab.family == V4:  # others have such sockets too, and no table
            stack.enter_context(socket.socket(V4, socket.SOCK_RAW, socket.IPPROTO_IGMP))
        words = ["smcrouted", "-n", "-N", *files]
        other = stack.enter_context(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        stack.callback(other.kill)
        eventually((home / "pid").exists)
        daemon = stack.enter_context(Daemon(own_bus.address, lab.router, home=home))
        scene = Scene(lab, daemon, CLI(own_bus.address))
        found = scene.explain()
        assert [each["code"] for each in found] == ["table-not-ours", "table-not-ours"]
        assert found[1]["evidence"]["processes"] == [str(other.pid)]
        assert f"'smcrouted' (process {other.pid})" in found[1]["sentence"]
        assert scene.returncode == 1
        scene.type_remedy({})
        assert other.wait(10) == 0
        eventually(lambda: not scene.cli("show", "tables").stderr)
        scene.add()
        with scene.flow():
            assert scene.explain()[0]["code"] == "flowing"


def test_a_switch_that_withholds_the_stream_sends_it_after_the_join_that_is_named(
    scene: Scene,
) -> None:
    with Switch(scene.lab) as switch:
        scene.upstream = "lan"
        scene.add(iif="lan")
        with scene.flow():
            # It floods for a moment after it has begun to query.
            eventually(lambda: scene.explain()[0]["code"] != "flowing")
            found = scene.explain()
            assert found[0]["code"] == "nothing-arrives"
            assert found[0]["remedy"].startswith("mfc-dbus-cli group join")
            assert not found[0]["evidence"]["joined"]
            scene.type(*shlex.split(found[0]["remedy"]))
            eventually(lambda: scene.group in switch.groups)
            assert [each["code"] for each in scene.explain()] == ["flowing"]


def test_a_bridge_as_oif_behind_which_nobody_has_joined_is_noted(scene: Scene) -> None:
    scene.lab.router.ip(
        "link add name br0 type bridge mcast_snooping 1",
        "link set dev br0 up",
        "link set dev down0 master br0",
    )
    scene.add(oifs=("br0",))
    with scene.flow():
        found = scene.explain()
    assert [(each["code"], each["level"]) for each in found] == [
        ("flowing", "ok"),
        ("snooping-oif", "note"),
    ]
    assert scene.returncode == 0
    scene.type(*shlex.split(f"bridge mdb add dev br0 port down0 grp {scene.group} permanent"))
    with scene.flow():
        assert [each["code"] for each in scene.explain()] == ["flowing"]


def test_a_stream_that_waits_to_be_learned_is_told_of_with_since_when(scene: Scene) -> None:
    one_is_learned(scene)
    with scene.flow():
        assert scene.explain()[0]["code"] == "limit"
        scene.configure(learned=2)
        (found,) = scene.explain()
        assert (found["code"], found["level"]) == ("learning", "note")
        assert found["evidence"]["held-at-most"] == 4
        assert scene.returncode == 0
        eventually(lambda: [each["code"] for each in scene.explain()] == ["flowing"])


def test_without_a_source_the_only_one_that_routes_name_is_meant(scene: Scene) -> None:
    scene.add()
    scene.asked = [scene.group]
    with scene.flow():
        assert scene.explain()[0]["code"] == "flowing"
    scene.add(source=scene.lab.addresses.other_source)
    done = scene.cli("explain", scene.group)
    assert done.returncode == 2
    assert "Say which source is meant" in done.stderr


def test_for_people_each_finding_is_a_line_and_what_to_type_another(scene: Scene) -> None:
    scene.add("--disable")
    done = scene.cli("explain", *scene.asked, "--seconds", "0")
    first, second = done.stdout.splitlines()
    assert first.startswith("problem: The route")
    assert first.endswith("[disabled]")
    assert second == f"  > {scene.explain()[0]['remedy']}"
    scene.type(*shlex.split(second.removeprefix("  > ")))
    done = scene.cli("explain", *scene.asked, "--seconds", "0")
    assert done.stdout.startswith("ok: nothing is wrong to be seen")
    assert done.returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["10.1.0.10", "239.1.2.3", "--seconds", "61"],
        ["10.1.0.300", "239.1.2.3"],
        ["10.1.0.0/24", "239.1.2.3"],
        ["fd00::1", "239.1.2.3"],
        ["x"],
    ],
)
def test_an_address_that_is_none_is_told_in_a_line(scene: Scene, words: list[str]) -> None:
    done = scene.cli("explain", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


async def test_a_stranger_may_ask_and_so_many_of_his_questions_are_answered_at_a_time(
    scene: Scene, own_bus: PrivateBus, nobody: int
) -> None:
    scene.add()
    async with Caller.at(own_bus.address, nobody) as stranger:
        asked = [
            asyncio.create_task(stranger.explain(scene.source, scene.group, seconds=1))
            for _ in range(6)
        ]
        await asyncio.wait(asked)
        refused = [task.exception() for task in asked if task.exception()]
        assert [error.name for error in refused if isinstance(error, BusError)] == [
            f"{OWN}.LimitExceeded",
            f"{OWN}.LimitExceeded",
        ]
        (found,) = asked[0].result()
        assert found["code"] == "nothing-arrives"
        # What is asked costs nothing until it is asked, and then nobody waits for it.
        waiting = asyncio.create_task(stranger.explain(scene.source, scene.group, seconds=2))
        await stranger.ping()
        assert not waiting.done()
        await waiting


@pytest.mark.parametrize(
    ("source", "group", "options", "what"),
    [
        ("10.1.0.0/24", "239.1.2.3", {}, "prefix"),
        ("10.1.0.10", "239.1.2.0/24", {}, "prefix"),
        ("10.1.0.10", "nonsense", {}, "not an IPv4 or IPv6 address"),
        ("fd00::1", "239.1.2.3", {}, "mix IPv4 and IPv6"),
        ("10.1.0.10", "239.1.2.3", {"seconds": 61}, "61 seconds"),
        ("10.1.0.10", "239.1.2.3", {"table": 7}, "There is no table ipv4/7"),
        ("10.1.0.10", "239.1.2.3", {"iif": "eth*"}, "pattern"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    daemon: Daemon, bus: PrivateBus, source: str, group: str, options: dict[str, Any], what: str
) -> None:
    async with Caller.at(bus.address) as caller:
        with pytest.raises(BusError, match=what) as error:
            await caller.explain(source, group, **options)
        assert error.value.name == f"{STANDARD}.InvalidArgs"


def test_a_service_that_is_not_root_reads_all_that_it_needs(
    lab: Topology, home: Path, nobody: int
) -> None:
    policy = home / "policy.conf"
    allowed = f'<policy user="{nobody}"><allow own="{BUS_NAME}"/></policy>'
    policy.write_text(f"<busconfig>{allowed}</busconfig>")
    with (
        PrivateBus(includes=[policy]) as bus,
        Daemon(bus.address, lab.router, home=home, uid=nobody) as daemon,
    ):
        scene = Scene(lab, daemon, CLI(bus.address))
        scene.add()
        with scene.flow():
            assert scene.explain()[0]["code"] == "flowing"
            scene.lab.router.ip("link set dev up0 down")
            assert scene.explain()[0]["code"] == "interface-down"
        assert "Traceback" not in daemon.log


def test_a_service_that_hangs_is_told_with_what_the_kernel_waits_for(scene: Scene) -> None:
    """How systemd ends that is tried where it is: see system/test_explain.py."""
    prefixes(scene)
    scene.daemon.process.send_signal(signal.SIGSTOP)
    try:
        with scene.flow():
            (found,) = scene.explain()
        assert (found["code"], found["remedy"]) == ("service-stuck", "systemctl restart mfc-dbus")
        assert found["evidence"]["unread-bytes"] > 0
        assert found["evidence"]["unresolved"]
        assert f"({scene.source}, {scene.group})" in found["sentence"]
        assert scene.returncode == 1
    finally:
        scene.daemon.process.send_signal(signal.SIGCONT)
    with scene.flow():
        eventually(lambda: scene.explain()[0]["code"] == "flowing")
