"""Of real rules of nft, iptables and tc those are named that could drop a stream, and no others."""

import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest
from lab.netns import Namespace
from lab.topology import ADDRESSES

from mfc_dbus.cli import dropping
from mfc_dbus.cli.firewall import Packet
from mfc_dbus.model.findings import Code

SURELY, MAYBE, NEVER = "drops it", "may drop it", ""
V4, V6 = socket.AF_INET, socket.AF_INET6
RULESET = """\
table inet lab {{
  set groups {{
    type {type}; flags interval; elements = {{ {prefix} }}
  }}
  set others {{
    type {type}; elements = {{ {other} }}
  }}
  set nobody {{
    type {type}; flags timeout
  }}
  set ports {{
    type {type} . inet_service; elements = {{ {group} . 5000 }}
  }}
  map verdicts {{
    type {type} : verdict; elements = {{ {group} : drop, {other} : accept }}
  }}
  chain more {{
    {ip} daddr {group} drop
  }}
  chain filter {{
    type filter hook forward priority 0; policy accept;
    {rule}
  }}
}}
"""


@pytest.fixture
def router() -> Iterator[Namespace]:
    with closing(Namespace()) as namespace:
        namespace.ip("link add name up0 type veth peer name down0")
        yield namespace


def packet(family: socket.AddressFamily, *, source: bool = True) -> Packet:
    here = ADDRESSES[family]
    sender = ip_address(here.source).packed if source else b""
    return Packet(sender, ip_address(here.group).packed, "up0", "down0")


def words(family: socket.AddressFamily) -> dict[str, str]:
    is_ipv6 = family == V6
    here = ADDRESSES[family]
    return {
        "ip": "ip6" if is_ipv6 else "ip",
        "other_ip": "ip" if is_ipv6 else "ip6",
        "type": "ipv6_addr" if is_ipv6 else "ipv4_addr",
        "source": here.source,
        "group": here.group,
        "other": here.other_group,
        "other_source": here.other_source,
        "prefix": "ff1e::/16" if is_ipv6 else "239.1.0.0/16",
        "range": "ff1e::-ff1e::ffff" if is_ipv6 else "239.1.0.0-239.1.255.255",
        "elsewhere": "fd00::/8" if is_ipv6 else "10.0.0.0/8",
    }


def told(router: Namespace, packet: Packet, code: Code = Code.FORWARD) -> list[str]:
    """How each rule that is named is said to drop."""
    with router:
        found = dropping.find(packet, code)
    assert found is not None
    return [each.sentence.removeprefix(f"{each.words} ") for each in found]


@pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(
    ("rule", "does"),
    [
        ("drop", SURELY),
        ("counter drop", SURELY),
        ('{ip} daddr {group} counter drop comment "no television"', SURELY),
        ("{ip} daddr {other} drop", NEVER),
        ("{ip} saddr {source} {ip} daddr {prefix} drop", SURELY),
        ("{ip} saddr {other_source} {ip} daddr {prefix} drop", NEVER),
        ("{ip} daddr {range} drop", SURELY),
        ("{ip} daddr {{ {other}, {group} }} drop", SURELY),
        ("{ip} daddr != {group} drop", NEVER),
        ("{ip} daddr != {{ {elsewhere}, {other} }} drop", SURELY),
        ("{ip} daddr != {{ {elsewhere}, {group} }} drop", NEVER),
        ("{ip} daddr @groups drop", SURELY),
        ("{ip} daddr @others drop", NEVER),
        ("{ip} daddr @nobody drop", NEVER),
        ("{ip} daddr . udp dport @ports drop", MAYBE),
        ("{ip} saddr . {ip} daddr {{ {source} . {group} }} drop", SURELY),
        ("{ip} saddr . {ip} daddr {{ {source} . {other} }} drop", NEVER),
        ("{ip} daddr vmap {{ {group} : drop, {other} : accept }}", SURELY),
        ("{ip} daddr vmap {{ {group} : accept, {other} : drop }}", NEVER),
        ("{ip} daddr vmap @verdicts", SURELY),
        ('iifname "up0" drop', SURELY),
        ('iifname "up*" drop', SURELY),
        ("iif up0 drop", SURELY),
        ('oifname "down0" reject', SURELY),
        ('iifname "down0" drop', NEVER),
        ('iifname != "up0" drop', NEVER),
        ('iifname != "eth0" oifname {{ "down0", "eth0" }} drop', SURELY),
        ('iifname . oifname {{ "eth0" . "down0" }} drop', NEVER),
        ("{other_ip} daddr != ::1 drop", NEVER),
        ("meta nfproto ipv6 drop", "by family"),
        ("meta pkttype multicast drop", SURELY),
        ("fib daddr type multicast drop", SURELY),
        ("udp dport 5000 drop", MAYBE),
        ("udp dport != 5000 drop", MAYBE),
        ("tcp dport 22 drop", MAYBE),
        ("ct state invalid drop", MAYBE),
        ("{ip} daddr {group} limit rate over 10/second drop", MAYBE),
        ("{ip} daddr {group} accept; drop", NEVER),
        ("{ip} daddr {other} accept; drop", SURELY),
        ("udp dport 5000 accept; drop", MAYBE),
        ("{ip} daddr {prefix} jump more", SURELY),
        ("{ip} daddr {other} jump more", NEVER),
        ("{ip} daddr {prefix} goto more; drop", SURELY),
        ('{ip} daddr {group} log prefix "television " drop', SURELY),
    ],
)
def test_a_rule_of_nft_is_told_as_it_is_for_the_stream(
    router: Namespace, family: socket.AddressFamily, rule: str, does: str
) -> None:
    here = words(family)
    if family == V6:
        rule = rule.replace("::1", "127.0.0.1")
    written = RULESET.format(rule=rule.format(**here).replace("; ", "\n    "), **here)
    with router:
        subprocess.run(["nft", "-f", "-"], input=written, text=True, check=True)
    if does == "by family":
        does = SURELY if family == V6 else NEVER
    assert told(router, packet(family)) == ([does] if does else [])


def test_of_an_unknown_source_a_rule_for_one_may_be(router: Namespace) -> None:
    written = RULESET.format(rule="ip saddr 10.1.0.10 drop", **words(V4))
    with router:
        subprocess.run(["nft", "-f", "-"], input=written, text=True, check=True)
    assert told(router, packet(V4, source=False)) == [MAYBE]


@pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("kind", ["nft", "legacy"])
@pytest.mark.parametrize(
    ("rule", "does"),
    [
        ("-A FORWARD -j DROP", SURELY),
        ("-A FORWARD -d {group} -j REJECT", SURELY),
        ("-A FORWARD -d {other} -j DROP", NEVER),
        ("-A FORWARD ! -d {other} -i up+ -j DROP", SURELY),
        ("-A FORWARD ! -i up0 -j DROP", NEVER),
        ("-A FORWARD ! -s {source} -j DROP", NEVER),
        ('-A FORWARD -d {prefix} -o down0 -m comment --comment "it\'s here" -j DROP', SURELY),
        ("-A FORWARD -p udp --dport 5000 -j DROP", MAYBE),
        ("-A FORWARD -m limit --limit 1/s -j DROP", MAYBE),
        ("-A FORWARD -d {group} -j ACCEPT; -A FORWARD -j DROP", NEVER),
        ("-A FORWARD -j LOG; -A FORWARD -j DROP", SURELY),
        ("-N MORE; -A MORE -s {source} -j DROP; -A FORWARD -d {prefix} -j MORE", SURELY),
        ("-N MORE; -A MORE -j RETURN; -A MORE -j DROP; -A FORWARD -j MORE", NEVER),
        ("-P FORWARD DROP", SURELY),
        ("-t mangle -A FORWARD -d {group} -j DROP", SURELY),
        ("-t raw -A PREROUTING -d {group} -j DROP", NEVER),  # it is not at that hook
        ("-A INPUT -j DROP", NEVER),
    ],
)
def test_a_rule_of_iptables_is_told_as_it_is_for_the_stream(
    router: Namespace, family: socket.AddressFamily, kind: str, rule: str, does: str
) -> None:
    program = f"ip6tables-{kind}" if family == V6 else f"iptables-{kind}"
    with router:
        for command in rule.format(**words(family)).split("; "):
            subprocess.run([program, *shlex.split(command)], check=True)
    assert told(router, packet(family)) == ([does] if does else [])


@pytest.mark.parametrize("device", ["down0", "up0"])
def test_a_chain_for_another_device_is_not_named(router: Namespace, device: str) -> None:
    """nft 1.0 does not tell the device in JSON."""
    written = (
        "add table netdev lab; add chain netdev lab out { type filter hook egress "
        f"device {device} priority 0; policy drop; }}"
    )
    with router:
        subprocess.run(["nft", written], check=True)
    assert told(router, packet(V4), Code.EGRESS) == ([SURELY] if device == "down0" else [])


def test_a_filter_of_tc_may_drop(router: Namespace) -> None:
    with router:
        for words in (
            "tc qdisc add dev down0 clsact",
            "tc filter add dev down0 egress bpf direct-action bytecode '1,6 0 0 2'",
        ):
            subprocess.run(shlex.split(words), check=True)
    assert told(router, packet(V4), Code.EGRESS) == [MAYBE]
    assert told(router, packet(V4), Code.INGRESS) == []
