"""Files of others: read whole where they are files, and refused with a sentence where not."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mfc_dbus.cli import main, session
from mfc_dbus.cli.documents import File
from mfc_dbus.config import routes_d, settings
from mfc_dbus.config.settings import Settings
from mfc_dbus.documents import text_files
from mfc_dbus.model.errors import ConfigError, InvalidArgs

ROUTE = '[[route]]\ngroup = "225.1.1.1"\niif = "eth0"\noifs = ["eth1"]\n'


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def make_directory(path: Path) -> None:
    path.mkdir()


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_large(path: Path) -> None:
    path.touch()
    os.truncate(path, text_files.MAX_BYTES + 1)


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


ODD = {
    make_fifo: "Is a fifo, and no regular file",
    make_socket: "No such device or address",
    make_directory: "Is a directory, and no regular file",
    make_device: "Is a device, and no regular file",
    make_large: "Is larger than 64 MiB",
    make_dangling: "No such file or directory",
}
odd_files = pytest.mark.parametrize(
    ("make", "sentence"), ODD.items(), ids=[make.__name__[5:] for make in ODD]
)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    assert text_files.read(path) == path.read_bytes()
    assert text_files.read(path, limit=256_000) == path.read_bytes()
    with pytest.raises(OSError, match="Is larger than 255999 bytes"):
        text_files.read(path, limit=255_999)


def test_a_file_that_grows_is_read_to_its_limit_alone() -> None:
    """Its size says 0, as of all that the kernel makes up as it is read."""
    with pytest.raises(OSError, match="Is larger than 10 bytes"):
        text_files.read(Path("/proc/self/status"), limit=10)


def test_a_file_that_has_nothing_yet_is_not_waited_for() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    with pytest.raises(OSError, match="Has nothing to be read now"):
        text_files.read_descriptor(reading, "pipe")
    os.close(reading)
    os.close(writing)


@odd_files
@pytest.mark.parametrize("verb", ["import", "apply"])
def test_what_is_no_file_is_refused_by_the_command_line(
    make: object,
    sentence: str,
    verb: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "x.toml"
    make(path)  # type: ignore[operator]
    if verb == "apply":  # what it reads is read before anybody is asked
        monkeypatch.setattr(session, "run", lambda *_: File(str(path)))
    assert main([verb, str(path)]) == 1
    assert capfd.readouterr() == ("", f"mfc-dbus-cli: {path}: {sentence}\n")


@odd_files
def test_what_is_no_file_is_a_problem_of_the_configuration(
    make: object, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "routes.d" / "x.toml"
    path.parent.mkdir()
    make(path)  # type: ignore[operator]
    (path.parent / "y.toml").write_text(ROUTE)
    read = routes_d.load(tmp_path)
    assert read.problems == [f"{path}: {sentence}"]
    assert len(read.routes) == 1


@pytest.mark.parametrize("make", [make for make in ODD if make != make_dangling])
def test_what_is_no_file_has_no_settings(make: object, tmp_path: Path) -> None:
    make(tmp_path / settings.FILE)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"mfc-dbus.toml: (Is|No such) "):
        settings.load(tmp_path)


def test_an_open_pipe_may_be_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As a shell does for <(program)."""
    reading, writing = os.pipe()
    os.write(writing, b"mroute from eth0 group 225.1.1.1 to eth1\n")
    os.close(writing)
    assert main(["import", f"/dev/fd/{reading}"]) == 0
    os.close(reading)
    assert 'group = "225.1.1.1"' in capfd.readouterr().out


def test_a_standard_input_without_end_is_refused() -> None:
    program = "from mfc_dbus.cli import main; raise SystemExit(main(['import', '-']))"
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run(
            [sys.executable, "-c", program], stdin=endless, capture_output=True, text=True
        )
    assert (done.returncode, done.stderr) == (1, "mfc-dbus-cli: stdin: Is larger than 64 MiB\n")


def test_a_standard_input_that_is_closed_is_no_traceback() -> None:
    program = "from mfc_dbus.cli import main; raise SystemExit(main(['import', '-']))"
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, program],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "mfc-dbus-cli: stdin: Bad file descriptor\n")


def test_what_is_opened_later_does_not_become_a_standard_input_that_is_closed(
    tmp_path: Path,
) -> None:
    (tmp_path / "smcroute.conf").write_text("mroute from eth0 group 225.1.1.1 to eth1\n")
    program = (
        "import sys; from mfc_dbus.cli import main; main(['import', sys.argv[1]])\n"
        "with open('/dev/null') as later: raise SystemExit(later.fileno())"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "smcroute.conf")]
    done = subprocess.run(["/bin/sh", "-c", 'exec "$@" <&-', "sh", *words])
    assert done.returncode > 2


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a = 1\n\xff\n", "line 2: This is not valid UTF-8"),
        ("a = 1\n".encode("utf-16"), "line 1: This is UTF-16; write it as UTF-8"),
    ],
)
def test_what_is_no_text_is_named_by_its_line(data: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgs, match=f"^{sentence}$"):
        text_files.decode(data)
    (tmp_path / settings.FILE).write_bytes(data)
    with pytest.raises(ConfigError, match=f"{settings.FILE}: {sentence}$"):
        settings.load(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert text_files.decode("\ufeffa\ufeff".encode()) == "a\ufeff"
    (tmp_path / settings.FILE).write_text("\ufefftables = []\n")
    assert settings.load(tmp_path) == Settings(tables=())
    (tmp_path / "routes.d").mkdir()
    (tmp_path / "routes.d" / "x.toml").write_text("\ufeff" + ROUTE)
    assert len(routes_d.load(tmp_path).routes) == 1
