"""What on this machine could drop a stream, of its firewalls and filters of tc: for root alone."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mfc_dbus.cli import iptables, nftables, tc_filters
from mfc_dbus.cli.firewall import Packet, Suspect, suspects
from mfc_dbus.model.findings import Code

# The hooks that a finding is about, the likely ones first: IPv4 counts for the whole machine, so
# that other packets may hide an earlier hook.
_HOOKS: Mapping[str, Sequence[str]] = {
    Code.INGRESS: ("ingress",),
    Code.PREROUTING: ("prerouting", "ingress"),
    Code.FORWARD: ("forward",),
    Code.POSTROUTING: ("postrouting", "forward"),
    Code.EGRESS: ("egress", "postrouting", "forward"),
}
_MOST = 20
_BETWEEN = 0.5  # seconds between two looks at the counters of rules


class Dropping(NamedTuple):
    """A rule or filter that could drop the stream, and the command that lets it pass."""

    words: str
    sentence: str
    remedy: str


def find(packet: Packet, code: str) -> list[Dropping] | None:
    """Return what could drop a stream where a finding says that something did, the likely first.

    First comes what has counted packets meanwhile, and last what counts, and did not; before what
    may drop the stream comes what surely does. None where no firewall could be asked.
    """
    hooks = _HOOKS[code]
    before, asked = _listed(packet, hooks)
    if any(each.counted is not None for each in before):
        time.sleep(_BETWEEN)
        counted = {each.words: each.counted or 0 for each in before}
        found, _ = _listed(packet, hooks)
    else:
        counted, found = {}, before
    if not found and not asked:
        return None
    rises = {
        each.words: each.counted - counted.get(each.words, each.counted)
        for each in found
        if each.counted is not None
    }
    found.sort(key=lambda each: _order(each, rises.get(each.words)))
    return [_told(each, rises.get(each.words, 0)) for each in found[:_MOST]]


def _listed(packet: Packet, hooks: Sequence[str]) -> tuple[list[Suspect], bool]:
    """Return what is listed at these hooks, in their order; and whether nft could be asked."""
    of_nft = nftables.chains(packet)
    found: dict[str, Suspect] = {}
    for hook in hooks:
        for chains in (of_nft or {}, iptables.chains(packet)):
            found |= {each.words: each for each in suspects(chains, [hook])}
        at = {"ingress": packet.iif, "egress": packet.oif}.get(hook)
        if at:
            found |= {each.words: each for each in tc_filters.suspects(at, hook)}
    return [*found.values()], of_nft is not None


def _order(suspect: Suspect, rise: int | None) -> tuple[int, bool]:
    place = 1 if rise is None else 0 if rise > 0 else 2
    return place, not suspect.sure


def _told(suspect: Suspect, rise: int) -> Dropping:
    does = "drops it" if suspect.sure else "may drop it"
    if rise > 0:
        does = f"dropped {rise} packets in {_BETWEEN} s"
    return Dropping(suspect.words, f"{suspect.words} {does}", suspect.remedy)
