"""What is installed, where, and what is left of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab.installed import TOP, Installed
from lab.machine import Machine

PROGRAMS = {"mfc-dbus-cli", "mfc-dbus-dispatcher", "mfc-dbus-exporter", "mfc-dbusd"}
APPLET = "org.example.MulticastForwarding.Applet"
PAGES = [path.stem for path in sorted(TOP.glob("data/man/*.in"))]
ZSH = "vendor-completions" if Path("/etc/debian_version").exists() else "site-functions"
COLLECTIONS = "usr/share/ansible/collections/ansible_collections"
COLLECTION = [
    each.relative_to(TOP / "data/ansible")
    for each in (TOP / "data/ansible").rglob("*")
    if each.is_file() and each.suffix != ".pyc"
]
# What a distribution's package holds beside the Python package.
PACKAGED = {
    *(f"usr/bin/{program}" for program in (*PROGRAMS, "mfc-dbus-applet")),
    "usr/lib/NetworkManager/dispatcher.d/90-mfc-dbus",
    "usr/lib/networkd-dispatcher/off.d/90-mfc-dbus",
    "usr/lib/networkd-dispatcher/routable.d/90-mfc-dbus",
    "usr/lib/systemd/catalog/mfc-dbus.catalog",
    "usr/lib/systemd/system/mfc-dbus-dispatcher.service",
    "usr/lib/systemd/system/mfc-dbus-exporter.service",
    "usr/lib/systemd/system/mfc-dbus-exporter.socket",
    "usr/lib/systemd/system/mfc-dbus-json.socket",
    "usr/lib/systemd/system/mfc-dbus-json@.service",
    "usr/lib/systemd/system/system-mfcdbusjson.slice",
    "usr/lib/systemd/system/mfc-dbus.service",
    "usr/lib/sysusers.d/mfc-dbus.conf",
    f"usr/share/applications/{APPLET}.desktop",
    f"usr/share/icons/hicolor/scalable/apps/{APPLET}.svg",
    f"usr/share/icons/hicolor/symbolic/apps/{APPLET}-symbolic.svg",
    f"usr/share/metainfo/{APPLET}.metainfo.xml",
    "usr/share/bash-completion/completions/mfc-dbus-cli",
    "usr/share/dbus-1/interfaces/org.example.MulticastForwarding.xml",
    "usr/share/dbus-1/system-services/org.example.MulticastForwarding.service",
    "usr/share/dbus-1/system.d/org.example.MulticastForwarding.conf",
    "usr/share/fish/vendor_completions.d/mfc-dbus-cli.fish",
    f"usr/share/zsh/{ZSH}/_mfc-dbus-cli",
    *(f"usr/share/man/man{page[-1]}/{page}" for page in PAGES),
    "usr/share/doc/mfc-dbus/50-mfc-dbus.rules",
    "usr/share/doc/mfc-dbus/LICENSE",
    "usr/share/doc/mfc-dbus/README.md",
    *(f"usr/share/doc/mfc-dbus/data/doc/{page.name}" for page in TOP.glob("data/doc/*.*")),
    *(
        f"usr/share/doc/mfc-dbus/data/doc/examples/{each.name}"
        for each in TOP.glob("data/doc/examples/*")
    ),
    "usr/share/doc/mfc-dbus/data/org.example.MulticastForwarding.xml",
    *(f"{COLLECTIONS}/example/multicast_forwarding/{each}" for each in COLLECTION),
    "usr/share/polkit-1/actions/org.example.MulticastForwarding.policy",
    "usr/share/polkit-1/rules.d/mfc-dbus-json.rules",
}


def meson(*arguments: object) -> None:
    command = [sys.executable, "-m", "mesonbuild.mesonmain", *map(str, arguments)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # for ninja
    subprocess.run(command, check=True, env=os.environ | {"PATH": path})


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a packager gets."""
    build, destdir = (tmp_path_factory.mktemp(name) for name in ("build", "destdir"))
    meson("setup", "--prefix=/usr", build, TOP)
    meson("install", "-C", build, "--quiet", "--destdir", destdir)
    return destdir


def test_a_packager_gets_every_file(packaged: Path) -> None:
    files = {str(path.relative_to(packaged)) for path in packaged.rglob("*") if path.is_file()}
    python = {file for file in files if "-packages/" in file}
    assert files - python == PACKAGED
    names = {file.partition("-packages/")[2] for file in python if not file.endswith(".pyc")}
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    sources = [path for path in (TOP / "mfc_dbus").rglob("*") if path.is_file()]
    made = {metadata, "mfc_dbus/mfc-dbus.schema.json"}
    assert names - made == {str(path.relative_to(TOP)) for path in sources if path.suffix != ".pyc"}


def test_a_packagers_programs_run_on_the_python_that_has_the_package(packaged: Path) -> None:
    for program in PROGRAMS:
        first = (packaged / "usr/bin" / program).read_text().splitlines()[0]
        assert first == f"#!{sys.executable} -I"
    applet = (packaged / "usr/bin/mfc-dbus-applet").read_text()
    assert applet.startswith("#!/usr/bin/python3 -I\n")  # which has GTK


def test_everybody_can_read_and_run_what_is_installed(
    installed: Installed, machine: Machine
) -> None:
    everything = "/usr/local/lib/mfc-dbus", *(f"/usr/local/bin/{name}" for name in PROGRAMS)
    hidden = machine.run("find", *everything, "!", "-type", "l", "!", "-perm", "-o+r").stdout
    assert not hidden
    for program in PROGRAMS:
        assert machine.run(program, "--version", user="alice").stdout.split()[-1] == "0.1.0"


def test_the_installation_uses_nothing_of_the_users_python(
    installed: Installed, machine: Machine
) -> None:
    python = "/usr/local/lib/mfc-dbus/venv/bin/python3"
    assert machine.run("readlink", "-f", python).stdout.startswith("/usr/bin/python3")


@pytest.mark.parametrize(
    ("shell", "command", "found"),
    [
        (
            "bash",
            ". /usr/share/bash-completion/bash_completion; _completion_loader mfc-dbus-cli; "
            "complete -p mfc-dbus-cli",
            "complete -F _mfc_dbus_cli mfc-dbus-cli",
        ),
        (
            "zsh",
            "autoload -Uz compinit; compinit -D -u; echo $_comps[mfc-dbus-cli]",
            "_mfc-dbus-cli",
        ),
        ("fish", "complete -C 'mfc-dbus-cli mfc ad'", "add\tadd a route, or replace one"),
    ],
)
def test_every_shell_finds_its_completion(
    installed: Installed, machine: Machine, shell: str, command: str, found: str
) -> None:
    assert machine.run(shell, "-c", command).stdout.strip() == found


def test_every_manual_page_is_found(installed: Installed, machine: Machine) -> None:
    assert len(PAGES) >= 5
    for page in PAGES:
        name, _, section = page.rpartition(".")
        # /usr/local/man is a link to share/man in some systems.
        found = machine.run("man", "-w", section, name).stdout.strip()
        path = machine.run("readlink", "-f", found).stdout.strip()
        assert path == f"/usr/local/share/man/man{section}/{page}"
        assert f"\n     {name} " in machine.run("man", section, name).stdout


def test_uninstalling_leaves_the_state_and_nothing_else(
    installed: Installed, machine: Machine
) -> None:
    """Last here: the other tests have done what leaves traces."""
    installed.cli("mfc", "add", "-g", "239.1.1.1", "-i", "in", "-o", "out", "--wait")
    users = (machine.root / "etc/passwd").read_text()
    try:
        assert "/var/lib/mfc-dbus" in installed.make("uninstall")
        left = installed.files() - installed.files_before
        assert {path for path in left if not path.startswith("var/lib/mfc-dbus")} == set()
        assert "var/lib/mfc-dbus" in left
        assert "mfc-dbus" in users
        assert "mfc-dbus" not in (machine.root / "etc/passwd").read_text()
        assert machine.run("systemctl", "cat", "mfc-dbus", check=False).returncode
    finally:
        installed.make("install", "install-service", "start-service")
    assert installed.states() == {"239.1.1.1": "waiting"}
