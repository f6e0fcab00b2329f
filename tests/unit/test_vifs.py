"""VIF numbers: the lowest free one, counted by their uses, at most 32."""

import pytest

from mfc_dbus.model.errors import TooManyInterfaces
from mfc_dbus.routing.vifs import Vif, Vifs


def test_an_interface_gets_the_lowest_free_number() -> None:
    vifs = Vifs()
    for ifindex, name in enumerate(["a", "b", "c"], 10):
        assert vifs.acquire(name, ifindex)
    assert vifs.release("b") == Vif(1, "b", 11, 1)
    assert vifs.acquire("d", 13)
    assert vifs["d"].number == 1


def test_a_vif_is_there_while_it_is_used_and_no_longer() -> None:
    vifs = Vifs()
    assert vifs.acquire("a", 1)
    assert not vifs.acquire("a", 1)
    assert vifs["a"].references == 2
    assert vifs.release("a") is None
    assert vifs.release("a") == Vif(0, "a", 1, 1)
    assert "a" not in vifs
    assert len(vifs) == 0


def test_the_33rd_interface_is_refused_by_name() -> None:
    vifs = Vifs()
    for number in range(32):
        vifs.acquire(f"eth{number}", number + 1)
    with pytest.raises(TooManyInterfaces, match="'eth32' would be the 33rd"):
        vifs.acquire("eth32", 33)
    assert not vifs.acquire("eth31", 32)


def test_a_copy_changes_alone() -> None:
    vifs = Vifs()
    vifs.acquire("a", 1)
    copy = vifs.copy()
    copy.acquire("b", 2)
    copy.release("a")
    assert [vif.name for vif in vifs] == ["a"]
