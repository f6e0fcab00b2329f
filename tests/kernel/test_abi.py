"""Every struct, field and constant of abi.py against the C compiler and the kernel's headers."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from mfc_dbus.kernel import abi

# Where IPv6 has a name of its own for a constant that abi.py uses for both families.
IPV6_NAMES = {
    "MRT_ADD_VIF": "MRT6_ADD_MIF",
    "MRT_DEL_VIF": "MRT6_DEL_MIF",
    "SIOCGETVIFCNT": "SIOCGETMIFCNT_IN6",
    "SIOCGETSGCNT": "SIOCGETSGCNT_IN6",
    "MAXVIFS": "MAXMIFS",
}
IPV4_ALONE = {"VIFF_USE_IFINDEX"}

PROGRAM = """
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <linux/icmpv6.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/mroute.h>
#include <linux/mroute6.h>

#define SHOW(expression) printf("%s = %lld\\n", #expression, (long long)(expression));
#define FIELD(type, field) sizeof(((type *)0)->field)

int main(void)
{
    BODY
    return 0;
}
"""


def layout(type_: str) -> dict[str, int]:
    """A struct's size, and each field's offset and size, by the C expression for it."""
    ffi = abi.ffi()
    values = {f"sizeof({type_})": ffi.sizeof(type_)}
    for name, field in ffi.typeof(type_).fields:
        values[f"offsetof({type_}, {name})"] = field.offset
        values[f"FIELD({type_}, {name})"] = ffi.sizeof(field.type)
    return values


def constants() -> dict[str, int]:
    """The constants, under IPv4's and under IPv6's name."""
    values = {}
    for name, value in vars(abi).items():
        if name.isupper() and isinstance(value, int) and not name.startswith("_"):
            values[name] = value
            if name not in IPV4_ALONE:
                values[IPV6_NAMES.get(name, name.replace("MRT_", "MRT6_"))] = value
    values["ICMPV6_FILTER"] = abi._ICMP6_FILTER
    values["sizeof(struct icmp6_filter)"] = len(abi._ICMP6_FILTER_BLOCK_ALL)
    return values


STRUCTS = [f"struct {name}" for name in abi.ffi().list_types()[1]]
DECLARED = {"constants": constants()} | {struct: layout(struct) for struct in STRUCTS}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What the compiler makes of every expression."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    if not Path("/usr/include/linux/mroute6.h").exists():
        pytest.skip("there are no kernel headers")
    directory = tmp_path_factory.mktemp("abi")
    expressions = itertools.chain.from_iterable(DECLARED.values())
    body = "\n    ".join(f"SHOW({expression})" for expression in expressions)
    (directory / "abi.c").write_text(PROGRAM.replace("BODY", body))
    subprocess.run([compiler, "-o", "abi", "abi.c"], cwd=directory, check=True)
    shown = subprocess.run([directory / "abi"], check=True, capture_output=True, text=True).stdout
    pairs = (line.split(" = ") for line in shown.splitlines())
    return {expression: int(value) for expression, value in pairs}


@pytest.mark.parametrize("what", DECLARED)
def test_the_compiler_agrees(compiled: dict[str, int], what: str) -> None:
    declared = DECLARED[what]
    assert declared == {expression: compiled[expression] for expression in declared}


def test_every_vif_has_its_ttl_and_its_bit() -> None:
    ffi = abi.ffi()
    assert len(ffi.new("struct mfcctl *").mfcc_ttls) == abi.MAXVIFS
    assert 8 * ffi.sizeof("struct if_set") >= abi.MAXVIFS


@pytest.mark.parametrize("family", [abi.IPV4, abi.IPV6], ids=["ipv4", "ipv6"])
def test_what_is_laid_out_by_hand_is_laid_out_as_the_structs_are(family: abi.FamilyABI) -> None:
    ffi, six = abi.ffi(), family is abi.IPV6
    length = 16 if six else 4
    source, group = bytes(range(1, 1 + length)), bytes(range(101, 101 + length))
    mfc = ffi.new("struct mf6cctl *" if six else "struct mfcctl *")
    addresses = (
        (mfc.mf6cc_origin, mfc.mf6cc_mcastgrp) if six else (mfc.mfcc_origin, mfc.mfcc_mcastgrp)
    )
    for field, address in zip(addresses, (source, group), strict=True):
        family.set_address(field, address)
    if six:
        mfc.mf6cc_parent = 3
        mfc.mf6cc_ifset.ifs_bits[0] = 1 << 31 | 1 << 2
    else:
        mfc.mfcc_parent = 3
        mfc.mfcc_ttls[2], mfc.mfcc_ttls[31] = 7, 254
    assert family.mfc(source, group, 3, ((2, 7), (31, 254))) == bytes(ffi.buffer(mfc))
    counters = ffi.new("struct sioc_sg_req6 *" if six else "struct sioc_sg_req *")
    family.set_address(counters.src, source)
    family.set_address(counters.grp, group)
    counters.pktcnt, counters.bytecnt, counters.wrong_if = 1, 2, 3
    written = family.stream(source, group) + abi.SG_COUNTERS.pack(1, 2, 3)
    assert written == bytes(ffi.buffer(counters))
