"""What a library keeps of the messages that it decodes."""

import pytest

from mfc_dbus.bus import backend
from mfc_dbus.bus.backend import Variant, decode, encode


def test_signatures_that_strangers_invent_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_MAX_SIGNATURES", 10)
    for length in range(1, 201):
        decode("v", encode("v", [Variant(f"({'y' * length})", [0] * length)]))
    kept = len(backend._signatures)
    if backend._signature_tree:
        kept += backend._signature_tree.cache_info().currsize
    assert kept < 20
