"""The rules of the older iptables, which nft does not list: for root alone. Source: iptables(8).

Those that iptables-nft writes are in nftables.
"""

import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

from mfc_dbus.cli.firewall import Chain, Packet, Rule, Verdict

_NET = Path("/proc/net")
_TIMEOUT = 10
_HOOKS = {"PREROUTING": "prerouting", "FORWARD": "forward", "POSTROUTING": "postrouting"}
_VERDICTS = {
    "DROP": Verdict.DROP,
    "REJECT": Verdict.DROP,
    "ACCEPT": Verdict.ACCEPT,
    "RETURN": Verdict.RETURN,
}
# What says nothing of the packet, and how many words go with it.
_NO_MATCH = {"-m": 1, "--comment": 1, "--reject-with": 1}
_MODULES_THAT_SELECT_NOTHING = ("comment", "udp")


def chains(packet: Packet) -> Mapping[str, Chain]:
    """Return the chains of all tables; none where this kernel has no such tables in use."""
    family = "ip6" if packet.is_ipv6 else "ip"
    with suppress(OSError, ValueError, LookupError, subprocess.SubprocessError):
        if (_NET / f"{family}_tables_names").read_text().strip():
            return dict(_read(_save(family), packet, f"{family}tables-legacy"))
    return {}


def _save(family: str) -> str:
    # Without alternatives it has no such name, and then the other one is the older too.
    for program in (f"{family}tables-legacy-save", f"{family}tables-save"):
        with suppress(FileNotFoundError):
            done = subprocess.run(
                [program, "-c"], check=False, capture_output=True, timeout=_TIMEOUT
            )
            return done.stdout.decode(errors="replace")
    return ""


def _read(saved: str, packet: Packet, program: str) -> Iterator[tuple[str, Chain]]:
    """Yield each chain by its name, of what the program saves as text."""
    for text in saved.split("*")[1:]:
        table, *lines = text.splitlines()
        rules: dict[str, list[Rule]] = {}
        policies: dict[str, str] = {}
        for line in lines:
            if line.startswith(":"):
                name, policy = line[1:].split()[:2]
                rules[name], policies[name] = [], policy
        for line in lines:
            if line.startswith("["):
                counter, _, rest = line.partition("] ")
                rule = _rule(rest, packet, f"{program} -t {table}")
                counted = int(counter[1:].partition(":")[0])
                rules[rest.split()[1]].append(rule._replace(counted=counted))
        stream = ["-d", str(ip_address(packet.group))]
        if packet.source:
            stream = ["-s", str(ip_address(packet.source)), *stream]
        for name, there in rules.items():
            yield (
                f"{program} -t {table} {name}",
                Chain(
                    f"chain {name} of {program} -t {table}",
                    there,
                    _HOOKS.get(name, ""),
                    policies[name] == "DROP",
                    shlex.join([program, "-t", table, "-I", name, *stream, "-j", "ACCEPT"]),
                ),
            )


def _rule(text: str, packet: Packet, program: str) -> Rule:
    """Read a rule such as "-A FORWARD ! -i eth0 -d 239.1.0.0/16 -j DROP"."""
    words = iter(shlex.split(text)[2:])
    hook = _HOOKS.get(text.split()[1], "")
    matches: bool | None = True
    target, negated, leads = "", False, Verdict.JUMP
    for word in words:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            target = next(words)
            leads = Verdict.JUMP if word == "-j" else Verdict.GOTO
        elif word in ("-s", "-d", "-i", "-o"):
            holds = _holds(word, next(words), packet, hook)
            holds = holds if holds is None or not negated else not holds
            matches = False if holds is False or matches is False else holds and matches
        elif word == "-m":
            if next(words) not in _MODULES_THAT_SELECT_NOTHING:
                matches = matches and None
        elif word in _NO_MATCH:
            next(words)
        elif word.startswith("-") and target in ("", "NFQUEUE"):
            matches = matches and None  # a protocol, a port: maybe that of the stream
        negated = False
    named = f"rule {program} {text}"
    if target == "NFQUEUE":  # who reads it may drop it
        return Rule(named, matches and None, Verdict.DROP)
    if target in _VERDICTS:
        return Rule(named, matches, _VERDICTS[target])
    # Other targets let it go on; a chain that there is not does so, too.
    return Rule(named, matches, leads, f"{program} {target}")


def _holds(option: str, value: str, packet: Packet, hook: str) -> bool | None:
    """Return whether an address or interface of the packet is this one; None for maybe."""
    if option in ("-s", "-d"):
        address = packet.source if option == "-s" else packet.group
        return ip_address(address) in ip_network(value, strict=False) if address else None
    name = packet.iif if option == "-i" else packet.oif
    if not name or hook == {"-i": "postrouting", "-o": "prerouting"}[option]:
        return None
    return name.startswith(value[:-1]) if value.endswith("+") else name == value
