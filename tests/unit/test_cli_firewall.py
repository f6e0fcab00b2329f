"""A firewall's rules are followed as a packet would, and whatever nft lists is read."""

import socket
from pathlib import Path

import pytest

from mfc_dbus.cli import dropping, nftables
from mfc_dbus.cli.firewall import Chain, Packet, Rule, Suspect, Verdict, suspects
from mfc_dbus.model.findings import Code

PACKET = Packet(socket.inet_aton("10.1.0.10"), socket.inet_aton("239.1.2.3"), "up0", "down0")
DROP, ACCEPT, JUMP, GOTO, RETURN = (
    *(Verdict.DROP, Verdict.ACCEPT, Verdict.JUMP),
    *(Verdict.GOTO, Verdict.RETURN),
)


def found(*rules: Rule, drops: bool = False, **others: list[Rule]) -> list[tuple[str, bool]]:
    """What could drop a packet that comes to a chain with these rules; others: more chains."""
    chains = {"base": Chain("base", rules, "forward", drops)}
    chains |= {name: Chain(name, there) for name, there in others.items()}
    chains["elsewhere"] = Chain("elsewhere", [Rule("no", True, DROP)], "input", drops=True)
    return [(each.words, each.sure) for each in suspects(chains, ["forward"])]


def test_what_surely_drops_comes_before_what_may() -> None:
    rules = Rule("maybe", None, DROP), Rule("never", False, DROP), Rule("surely", True, DROP)
    assert found(*rules) == [("surely", True), ("maybe", False)]
    assert found(Rule("surely", True, DROP), Rule("maybe", None, DROP)) == [("surely", True)]


def test_behind_what_ends_a_chain_nothing_is_named() -> None:
    last = Rule("last", True, DROP)
    assert found(Rule("", True, ACCEPT), last, drops=True) == []
    assert found(Rule("", None, ACCEPT), last) == [("last", False)]
    assert found(Rule("", False, ACCEPT), last) == [("last", True)]
    assert found(Rule("", True, RETURN), last, drops=True) == [
        ("the policy of base (forward)", True)
    ]


def test_chains_are_followed_and_come_back() -> None:
    last, inner = Rule("last", True, DROP), Rule("inner", True, DROP)
    assert found(Rule("", True, JUMP, "more"), last, more=[inner]) == [("inner", True)]
    assert found(Rule("", None, JUMP, "more"), last, more=[inner]) == [
        ("inner", False),
        ("last", False),
    ]
    assert found(Rule("", True, JUMP, "more"), last, more=[]) == [("last", True)]
    assert found(Rule("", True, JUMP, "LOG"), last) == [("last", True)]
    assert found(Rule("", True, GOTO, "more"), last, more=[]) == []
    back = [Rule("", True, RETURN), inner]
    assert found(Rule("", True, JUMP, "more"), last, more=back) == [("last", True)]


def test_chains_that_lead_to_one_another_end() -> None:
    circle = [Rule("", None, JUMP, "more"), Rule("", None, JUMP, "more")]
    assert found(Rule("", True, JUMP, "more"), Rule("last", True, DROP), more=circle) == [
        ("last", False)
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
    (tmp_path / "listed").write_text(text)
    (tmp_path / "nft").write_text(f"#!/bin/sh\ncat {tmp_path}/listed\n")
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert nftables.chains(PACKET) is None


def test_where_there_is_no_firewall_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dropping.find(PACKET, Code.FORWARD) is None


def test_what_counts_packets_meanwhile_comes_first_and_what_counts_none_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = iter([7, 12])

    def listed(*_: object) -> tuple[list[Suspect], bool]:
        still = Suspect("still", True, counted=3)
        return [still, Suspect("plain", True), Suspect("rising", False, "", next(looks))], True

    monkeypatch.setattr(dropping, "_listed", listed)
    rules = dropping.find(PACKET, Code.FORWARD)
    assert rules is not None
    assert [each.words for each in rules] == ["rising", "plain", "still"]
    assert "dropped 5 packets" in rules[0].sentence
