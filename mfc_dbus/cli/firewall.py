"""The firewall's rules that can drop a forwarded packet, as nft lists them: for root alone."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

_FAMILIES = {
    "ipv4": ("ip", "inet", "netdev", "bridge"),
    "ipv6": ("ip6", "inet", "netdev", "bridge"),
}
_HOOKS = ("ingress", "prerouting", "forward", "postrouting", "egress")
_MOST = 20
_TIMEOUT = 10


def dropping(family: str) -> list[str] | None:
    """Return the chains and rules that can drop packets of a family ("ipv4"), each as words.

    None where nft cannot be asked.
    """
    try:
        done = subprocess.run(
            ["nft", "--json", "list", "ruleset"],
            check=False,
            capture_output=True,
            timeout=_TIMEOUT,
        )
        listed = json.loads(done.stdout)["nftables"]
        return [*_dropping(listed, _FAMILIES[family])][:_MOST]
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


def _dropping(listed: list[Mapping[str, Any]], families: tuple[str, ...]) -> Iterator[str]:
    hooks: dict[tuple[Any, ...], Any] = {}
    for each in listed:
        chain = each.get("chain", {})
        if chain.get("family") in families and "hook" in chain:
            hooks[_place(chain, "name")] = chain["hook"]
            if chain.get("policy") == "drop" and chain["hook"] in _HOOKS:
                yield f"chain {_words(chain, 'name')} ({chain['hook']}) drops by its policy"
    for each in listed:
        rule = each.get("rule")
        if rule and rule["family"] in families and _drops(rule.get("expr", [])):
            hook = hooks.get(_place(rule, "chain"))
            # A chain without a hook is jumped to, from wherever.
            if hook is None or hook in _HOOKS:
                where = f" ({hook})" if hook else ""
                yield f"rule {_words(rule, 'chain')} handle {rule['handle']}{where} drops"


def _drops(expressions: list[Mapping[str, Any]]) -> bool:
    return any(verdict in each for each in expressions for verdict in ("drop", "reject"))


def _place(item: Mapping[str, Any], chain: str) -> tuple[Any, ...]:
    return item["family"], item["table"], item[chain]


def _words(item: Mapping[str, Any], chain: str) -> str:
    return f"{item['family']} {item['table']} {item[chain]}"
