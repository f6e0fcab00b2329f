"""Root is told which rule of a firewall drops a stream, and typing the remedy lets it pass.

    up0 ──┐ router,  ┌── down0
          ├ mfc-dbusd┤
    up1 ──┘          └── down1

Beside the rule there are others, which could not drop it or do not.
"""

import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import CONFIGURATION, Daemon
from lab.scene import Scene, settings
from lab.topology import Topology

TABLE = "nft add table inet lab"
CHAIN = "nft add chain inet lab {0} '{{{{ type filter hook {0} priority 0; }}}}'"


class Firewall(NamedTuple):
    """The commands that make it; the code that is found, and a part of the rule that is named."""

    name: str
    code: str
    rule: str
    commands: list[str]


def nft(hook: str, *rules: str) -> list[str]:
    return [TABLE, CHAIN.format(hook), *(f"nft add rule inet lab {hook} {rule}" for rule in rules)]


FIREWALLS = [
    Firewall(
        "a counter tells which of two rules it was",
        "forward",
        "rule inet lab forward handle 2 (forward) dropped",
        nft("forward", "udp dport != 9 counter drop", "{ip} daddr {group} drop"),
    ),
    Firewall(
        "a rule with a set, after some for others",
        "prerouting",
        "handle 5 (prerouting) drops it",
        nft(
            "prerouting",
            "{ip} daddr {other} counter drop",
            "iifname != up0 drop",
            "iifname . {ip} daddr '{{ up0 . {group}, up1 . {other} }}' drop",
        ),
    ),
    Firewall(
        "a chain that others lead to",
        "forward",
        "rule inet lab more handle",
        [
            *nft("forward", "tcp dport 22 drop"),
            "nft add chain inet lab more",
            "nft add rule inet lab more {ip} daddr {group} drop",
            "nft add rule inet lab forward iifname up0 jump more",
        ],
    ),
    Firewall(
        "a policy",
        "postrouting",
        "the policy of chain inet lab postrouting (postrouting) drops it",
        [
            TABLE,
            "nft add chain inet lab postrouting "
            "'{{ type filter hook postrouting priority 0; policy drop; }}'",
            "nft add rule inet lab postrouting oifname down1 accept",
        ],
    ),
    Firewall(
        "a limit",
        "forward",
        "handle 2 (forward) dropped",
        nft("forward", "{ip} daddr {group} limit rate over 5/second counter drop"),
    ),
    Firewall(
        "iptables in nftables",
        "forward",
        "FORWARD handle",
        [
            "{iptables}-nft -A FORWARD -i up1 -j DROP",
            "{iptables}-nft -A FORWARD -d {group} -o down1 -j REJECT",
        ],
    ),
    Firewall(
        "the older iptables",
        "forward",
        "rule {iptables}-legacy -t filter -A FORWARD -d {group}",
        [
            "{iptables}-legacy -A FORWARD -p tcp -j DROP",
            "{iptables}-legacy -A FORWARD -d {group} ! -o down1 -j DROP",
        ],
    ),
    Firewall(
        "the older iptables at another hook",
        "prerouting",
        "rule {iptables}-legacy -t raw -A PREROUTING",
        ["{iptables}-legacy -t raw -A PREROUTING -m pkttype --pkt-type multicast -j DROP"],
    ),
]


@pytest.fixture
def scene(lab: Topology, own_bus: PrivateBus, tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / CONFIGURATION).write_text(settings())
    with Daemon(own_bus.address, lab.router, home=tmp_path) as daemon:
        scene = Scene(lab, daemon, CLI(own_bus.address))
        scene.add()
        yield scene
        assert "Traceback" not in daemon.log


@pytest.mark.parametrize("firewall", FIREWALLS, ids=lambda each: each.name)
def test_the_rule_that_drops_is_named_first_and_the_remedy_lets_the_stream_pass(
    scene: Scene, firewall: Firewall
) -> None:
    is_ipv6 = scene.lab.family == socket.AF_INET6
    words = {
        "ip": "ip6" if is_ipv6 else "ip",
        "iptables": "ip6tables" if is_ipv6 else "iptables",
        "group": scene.group,
        "other": scene.lab.addresses.other_group,
    }
    for command in firewall.commands:
        scene.type(*shlex.split(command.format(**words)))
    with scene.flow():
        first, second, *_ = scene.explain()
    assert (first["code"], second["code"]) == (firewall.code, firewall.code), first
    assert (first["level"], second["level"]) == ("problem", "note")
    told = second["sentence"].removeprefix("What could drop it there: ")
    assert firewall.rule.format(**words) in told.split("; ")[0]
    scene.type_remedy({})
    with scene.flow():
        assert [each["code"] for each in scene.explain()] == ["flowing"]
