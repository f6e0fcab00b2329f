"""Walks a firewall's rules as a packet of a stream would, and tells which could drop it (pure).

Of what is not known of the packet, such as its ports, a rule may be for it or not.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

_MOST_RULES = 100_000  # that one walk looks at: chains may be jumped to from everywhere
_MOST_JUMPS = 32  # nft and iptables allow 16


class Packet(NamedTuple):
    """What is known of a stream's packets: packed addresses, and interfaces.

    source, iif, oif: empty where they are not known.
    """

    source: bytes
    group: bytes
    iif: str = ""
    oif: str = ""

    @property
    def is_ipv6(self) -> bool:
        return len(self.group) == 16


class Verdict(StrEnum):
    """What a rule does with the packets that it is for."""

    ACCEPT = "accept"  # its base chain ends
    DROP = "drop"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"


class Rule(NamedTuple):
    """A rule as a packet sees it.

    matches: whether it is for the packet; None for maybe. target: the chain that it leads to.
    counted: the packets that it has counted; None where it has no counter.
    """

    words: str
    matches: bool | None
    verdict: Verdict
    target: str = ""
    counted: int | None = None


class Chain(NamedTuple):
    """A chain of rules.

    hook: where packets come to it by themselves; empty where rules lead there. drops: whether it
    drops what comes to its end. remedy: the command that has it accept the stream first.
    """

    words: str
    rules: Sequence[Rule]
    hook: str = ""
    drops: bool = False
    remedy: str = ""


class Suspect(NamedTuple):
    """A rule, or the policy of a chain, that could drop the packet.

    sure: whether it does with every packet of the stream that comes to its hook.
    """

    words: str
    sure: bool
    remedy: str = ""
    counted: int | None = None


def suspects(chains: Mapping[str, Chain], hooks: Collection[str]) -> list[Suspect]:
    """Return what could drop the packet at some hooks, and what surely does first.

    chains: by what `Rule.target` calls them.
    """
    walk = _Walk(chains)
    for chain in chains.values():
        if chain.hook in hooks:
            end = walk.follow(chain, True)
            if chain.drops and end is not False:
                words = f"the policy of {chain.words} ({chain.hook})"
                walk.note(Suspect(words, end is True, chain.remedy))
    return sorted(walk.found.values(), key=lambda each: not each.sure)


class _Walk:
    """Follows chains. What reaches a place is True, False, or None for maybe."""

    def __init__(self, chains: Mapping[str, Chain]) -> None:
        self._chains = chains
        self._left = _MOST_RULES
        self.found: dict[str, Suspect] = {}

    def note(self, suspect: Suspect) -> None:
        before = self.found.get(suspect.words)
        if before is None or not before.sure:
            self.found[suspect.words] = suspect

    def follow(self, chain: Chain, reached: bool | None, depth: int = 0) -> bool | None:
        """Return whether a packet that comes to a chain comes back from it, or to its end."""
        returned: bool | None = False
        for rule in islice(chain.rules, max(0, self._left)):
            self._left -= 1
            here = _both(reached, rule.matches)
            if here is False:
                continue
            # What may be dropped here is dropped, so the next rule need not doubt it.
            before, reached = reached, False if here else None
            match rule.verdict:
                case Verdict.DROP:
                    self.note(Suspect(rule.words, here is True, chain.remedy, rule.counted))
                    reached = False if here else before
                case Verdict.JUMP:
                    reached = _either(reached, self._lead(rule, here, depth))
                case Verdict.GOTO:
                    returned = _either(returned, self._lead(rule, here, depth))
                case Verdict.RETURN:
                    returned = _either(returned, here)
            if reached is False:
                break
        return _either(reached, returned)

    def _lead(self, rule: Rule, reached: bool | None, depth: int) -> bool | None:
        chain = self._chains.get(rule.target)
        if chain is None:  # not a chain, but something that is done with the packet
            return reached
        if depth == _MOST_JUMPS:
            return None
        return self.follow(chain, reached, depth + 1)


def _both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return True if one and other else None


def _either(one: bool | None, other: bool | None) -> bool | None:
    if one or other:
        return True
    return False if one is False and other is False else None
