"""What nft lists is read, whatever it is, for what can drop a forwarded packet."""

import json
from pathlib import Path
from typing import Any

import pytest

from mfc_dbus.cli.firewall import dropping


def chain(name: str, hook: str = "", policy: str = "accept", family: str = "inet") -> Any:
    based = {"hook": hook, "policy": policy} if hook else {}
    return {"chain": {"family": family, "table": "t", "name": name, "handle": 1, **based}}


def rule(name: str, handle: int, *verdicts: Any, family: str = "inet") -> Any:
    told = {"family": family, "table": "t", "chain": name, "handle": handle}
    return {"rule": {**told, "expr": [{"counter": None}, *verdicts]}}


def listing(path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have an nft that prints this."""
    (path / "listed").write_text(text)
    (path / "nft").write_text(f'#!/bin/sh\n[ "$*" = "--json list ruleset" ] && cat {path}/listed\n')
    (path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")


def test_policies_and_rules_of_the_hooks_on_a_packets_way_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruleset = [
        {"metainfo": {"version": "1"}},
        chain("in", "input", "drop"),
        chain("fwd", "forward", "drop"),
        chain("pre", "prerouting"),
        chain("other"),
        chain("six", "forward", "drop", family="ip6"),
        rule("in", 2, {"drop": None}),
        rule("pre", 3, {"accept": None}),
        rule("pre", 4, {"drop": None}),
        rule("other", 5, {"reject": {"type": "icmp"}}),
    ]
    listing(tmp_path, monkeypatch, json.dumps({"nftables": ruleset}))
    assert dropping("ipv4") == [
        "chain inet t fwd (forward) drops by its policy",
        "rule inet t pre handle 4 (prerouting) drops",
        "rule inet t other handle 5 drops",
    ]
    assert dropping("ipv6") == [
        "chain inet t fwd (forward) drops by its policy",
        "chain ip6 t six (forward) drops by its policy",
        "rule inet t pre handle 4 (prerouting) drops",
        "rule inet t other handle 5 drops",
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"nftables": 7}', '{"nftables": [1]}', '{"nftables": [{"rule": {}}]}'),
        '{"nftables": [{"chain": 7}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_ruleset_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    listing(tmp_path, monkeypatch, text)
    assert not dropping("ipv4")


def test_without_nft_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dropping("ipv4") is None
