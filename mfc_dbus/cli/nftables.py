"""The rules of nftables, as `nft --json` lists them, and those that iptables-nft writes: for root.

Source: libnftables-json(5).
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any

from mfc_dbus.cli.firewall import Chain, Packet, Rule, Verdict

_TIMEOUT = 10
_DEVICE = re.compile(r"\bdevices? (?:= )?(?:\{([^}]*)\}|(\S+))")
# Of a packet at these hooks the interface is known that it came by, or that it leaves by.
_WITH_IIF = ("ingress", "prerouting", "forward")
_WITH_OIF = ("forward", "postrouting", "egress")
# Statements that let a packet go on, whatever they do besides.
_PASSING = ("counter", "log", "mangle", "notrack", "dup", "meter", "set", "ct helper", "flow")
_DROPPING_TARGETS = ("DROP", "REJECT")


def chains(packet: Packet) -> Mapping[str, Chain] | None:
    """Return the chains that packets of the family meet; None where nft cannot be asked."""
    try:
        listed = json.loads(_nft("--json", "list", "ruleset"))["nftables"]
        return _Ruleset(listed, packet).chains()
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        subprocess.SubprocessError,
    ):
        return None


def _nft(*words: str) -> bytes:
    done = subprocess.run(["nft", *words], check=False, capture_output=True, timeout=_TIMEOUT)
    return done.stdout


class _Ruleset:
    """What nft lists, as a packet sees it."""

    def __init__(self, listed: Sequence[Mapping[str, Any]], packet: Packet) -> None:
        self._packet = packet
        family = "ip6" if packet.is_ipv6 else "ip"
        families = (family, "inet", "netdev")  # what a bridge drops no interface of ours receives
        self._listed = [
            {kind: item}
            for each in listed
            for kind, item in each.items()
            if kind != "metainfo" and item["family"] in families
        ]
        self._sets = {
            (item["family"], item["table"], item["name"]): item.get("elem", [])
            for each in self._listed
            for kind, item in each.items()
            if kind in ("set", "map")
        }

    def chains(self) -> Mapping[str, Chain]:
        rules: dict[str, list[Rule]] = {}
        hooks: dict[str, str] = {}
        there = [each["chain"] for each in self._listed if "chain" in each]
        for chain in there:
            words = _words(chain, chain["name"])
            rules[words], hooks[words] = [], chain.get("hook", "")
        for each in self._listed:
            if rule := each.get("rule"):
                words = _words(rule, rule["chain"])
                rules[words] += self._rules(rule, words, hooks[words])
        return {
            words: Chain(
                f"chain {words}",
                rules[words],
                hooks[words] if self._is_on_the_way(chain) else "",
                chain.get("policy") == "drop",
                self._accepting(chain),
            )
            for chain in there
            for words in [_words(chain, chain["name"])]
        }

    def _is_on_the_way(self, chain: Mapping[str, Any]) -> bool:
        """Tell whether a base chain is not for other interfaces alone."""
        if chain.get("hook") not in ("ingress", "egress"):
            return True
        at = self._packet.iif if chain["hook"] == "ingress" else self._packet.oif
        devices = chain.get("dev") or _devices(chain)
        return not devices or not at or at in ([devices] if isinstance(devices, str) else devices)

    def _accepting(self, chain: Mapping[str, Any]) -> str:
        family, protocol = (AF_INET6, "ip6") if self._packet.is_ipv6 else (AF_INET, "ip")
        place = [chain["family"], chain["table"], chain["name"]]
        stream = [protocol, "daddr", inet_ntop(family, self._packet.group)]
        if self._packet.source:
            stream = [protocol, "saddr", inet_ntop(family, self._packet.source), *stream]
        return shlex.join(["nft", "insert", "rule", *place, *stream, "accept"])

    def _rules(self, rule: Mapping[str, Any], chain: str, hook: str) -> Iterator[Rule]:
        """Yield what a rule does with the packet: one for each verdict that it may have."""
        at = f" ({hook})" if hook else ""
        words = f"rule {chain} handle {rule['handle']}{at}"
        matches: bool | None = True
        counted = None
        for statement in rule.get("expr", []):
            ((kind, value),) = statement.items()
            if kind == "match":
                matches = _and(matches, self._match(value, rule, hook))
            elif kind == "counter":
                counted = value.get("packets") if isinstance(value, dict) else None
            elif kind == "vmap":
                for element, does in self._elements(value["data"], rule):
                    is_for = self._holds(value["key"], [element], rule, hook)
                    yield from _verdict(words, _and(matches, is_for), does, chain, counted)
            elif kind == "xt" and value and value.get("type") == "target":
                if value.get("name") in _DROPPING_TARGETS:
                    yield Rule(words, matches, Verdict.DROP, counted=counted)
            elif kind == "xt" and value and value.get("name") == "comment":
                continue
            elif kind == "queue":  # who reads it may drop it
                yield Rule(words, None if matches else False, Verdict.DROP, counted=counted)
            elif found := [*_verdict(words, matches, statement, chain, counted)]:
                yield from found
            elif kind not in _PASSING:
                matches = _and(matches, None)  # a limit, a quota, or what is newer than this

    def _match(self, match: Mapping[str, Any], rule: Mapping[str, Any], hook: str) -> bool | None:
        if not self._is_of_family(match["left"]):
            return False
        if match["op"] not in ("==", "!="):
            return None
        holds = self._holds(match["left"], [match["right"]], rule, hook)
        return holds if holds is None or match["op"] == "==" else not holds

    def _is_of_family(self, left: Any) -> bool:
        """Tell whether a packet of this family has what is looked at."""
        if "concat" in left:
            return all(self._is_of_family(each) for each in left["concat"])
        other = ("ip", "icmp", "igmp") if self._packet.is_ipv6 else ("ip6", "icmpv6")
        return left.get("payload", {}).get("protocol") not in other

    def _holds(
        self, left: Any, right: Sequence[Any], rule: Mapping[str, Any], hook: str
    ) -> bool | None:
        """Return whether one of these values is that of the packet; None for maybe."""
        if not self._is_of_family(left):
            return False
        parts = left.get("concat", [left])
        values = [self._value(each, hook) for each in parts]
        return self._is_any(values, right, rule)

    def _is_any(
        self, values: Sequence[str | None], elements: Sequence[Any], rule: Mapping[str, Any]
    ) -> bool | None:
        found: bool | None = False
        for each in elements:
            held = self._is_element(values, each, rule)
            if held:
                return True
            found = None if held is None else found
        return found

    def _is_element(
        self, values: Sequence[str | None], element: Any, rule: Mapping[str, Any]
    ) -> bool | None:
        if isinstance(element, str) and element.startswith("@"):
            several = [each for each, _ in self._elements(element, rule)]
        elif isinstance(element, dict) and "set" in element:
            several = element["set"]
        elif isinstance(element, dict) and "elem" in element:
            several = [element["elem"]["val"]]
        elif isinstance(element, list):
            several = element
        else:
            parts = element["concat"] if isinstance(element, dict) and "concat" in element else None
            held: bool | None = True
            for value, part in zip(values, parts or [element], strict=False):
                held = _and(held, _is(value, part))
            return held
        return self._is_any(values, several, rule)

    def _elements(self, data: Any, rule: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the elements of a set, or of a map with their verdicts."""
        if isinstance(data, str):
            several = self._sets.get((rule["family"], rule["table"], data.removeprefix("@")), [])
        else:
            several = data["set"]
        for each in several:
            yield tuple(each) if isinstance(each, list) else (each, None)

    def _value(self, left: Mapping[str, Any], hook: str) -> str | None:
        """Return what the packet has there; None where that is not known."""
        packet = self._packet
        if payload := left.get("payload"):
            field = payload.get("field")
            if payload.get("protocol") in ("ip", "ip6") and field in ("saddr", "daddr"):
                address = packet.source if field == "saddr" else packet.group
                return str(ip_address(address)) if address else None
            if (payload.get("protocol"), field) == ("ether", "type"):
                return "ip6" if packet.is_ipv6 else "ip"
        match (left.get("meta") or {}).get("key"):
            case "iif" | "iifname" if hook in _WITH_IIF:
                return packet.iif or None
            case "oif" | "oifname" if hook in _WITH_OIF:
                return packet.oif or None
            case "nfproto":
                return "ipv6" if packet.is_ipv6 else "ipv4"
            case "protocol":
                return "ip6" if packet.is_ipv6 else "ip"
            case "pkttype":
                return "multicast"
        fib = left.get("fib") or {}
        return "multicast" if (fib.get("result"), fib.get("flags")) == ("type", ["daddr"]) else None


def _verdict(
    words: str, matches: bool | None, statement: Any, chain: str, counted: int | None
) -> Iterator[Rule]:
    """Yield the rule of a statement that is a verdict."""
    ((kind, value),) = statement.items()
    if kind in ("drop", "reject"):
        yield Rule(words, matches, Verdict.DROP, counted=counted)
    elif kind in ("accept", "return"):
        yield Rule(words, matches, Verdict(kind))
    elif kind in ("jump", "goto"):
        table = chain.rpartition(" ")[0]
        yield Rule(words, matches, Verdict(kind), f"{table} {value['target']}")


def _is(value: str | None, expected: Any) -> bool | None:
    """Return whether a value is the expected one, or in the expected prefix or range."""
    if value is None:
        return None
    if isinstance(expected, dict):
        with suppress(ValueError):
            if prefix := expected.get("prefix"):
                network = ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
                return bool(ip_address(value) in network)
            if ends := expected.get("range"):
                first, last = (int(ip_address(each)) for each in ends)
                return bool(first <= int(ip_address(value)) <= last)
        return None
    word = str(expected)
    if word.endswith("*"):
        return value.startswith(word[:-1])
    with suppress(ValueError):
        return ip_address(value) == ip_address(word)
    return value == word


def _devices(chain: Mapping[str, Any]) -> list[str]:
    """Ask for the devices of a chain, which nft 1.0 tells in its own language alone."""
    shown = _nft("list", "chain", *(chain[name] for name in ("family", "table", "name"))).decode()
    found = _DEVICE.search(shown)
    return re.findall(r'[^\s,"]+', found[1] or found[2]) if found else []


def _words(item: Mapping[str, Any], chain: str) -> str:
    return f"{item['family']} {item['table']} {chain}"


def _and(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return True if one and other else None
