"""Finds a bus, and writes and reads the handshake that lets us in; connections carry it (pure).

Source: D-Bus specification, "Server Addresses" and "Authentication Protocol".
"""

import contextlib
import os
from collections.abc import Iterator

BEGIN = b"BEGIN\r\n"  # the last line of the handshake: messages follow

_MAX_ANSWER = 16 * 1024  # bytes; the D-Bus daemon takes as many in a line
_DEFAULT_ADDRESS = "unix:path=/var/run/dbus/system_bus_socket"


def find_sockets(address: str | None) -> Iterator[str]:
    """Yield the names of the sockets where a bus may be; without an address, the system bus.

    An abstract name begins with NUL. Raises ValueError for an address of another form.
    """
    address = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or _DEFAULT_ADDRESS
    for each in address.split(";"):
        transport, _, options = each.partition(":")
        values = dict(option.partition("=")[::2] for option in options.split(","))
        name = values.get("path") or "\0" + values.get("abstract", "")
        if transport != "unix" or name == "\0":
            raise ValueError(f"Bus address '{address}' is not of the form unix:path=…")
        yield _unquote(name) if "%" in name else name


def _unquote(text: str) -> str:
    from urllib.parse import unquote  # takes long to load, and is hardly ever needed

    return unquote(text, errors="surrogateescape")


def ask(*, anonymous: bool) -> bytes:
    """Write the request to let us in, by the uid of this process or anonymously."""
    uid = str(os.geteuid()).encode().hex()
    mechanism = "ANONYMOUS" if anonymous else f"EXTERNAL {uid}"
    return f"\0AUTH {mechanism}\r\n".encode()


def take_answer(so_far: bytes, received: bytes) -> bytes:
    """Return the answer with the received bytes. Raises ConnectionAbortedError for no bytes."""
    if not received:
        raise ConnectionAbortedError("the bus closed the connection before it let us in")
    if len(so_far) > _MAX_ANSWER:
        raise ConnectionAbortedError("the bus says no end of things before it lets us in")
    return so_far + received


def is_whole(answer: bytes) -> bool:
    return answer.endswith(b"\r\n")


def check(answer: bytes, *, anonymous: bool) -> None:
    """Raise PermissionError unless the bus has let us in."""
    if not answer.startswith(b"OK "):
        who = "anonymous users" if anonymous else f"uid {os.geteuid()}"
        said = answer.decode(errors="replace").strip()
        raise PermissionError(f"the bus does not let {who} in, and says {said!r}")


@contextlib.contextmanager
def handshake() -> Iterator[None]:
    """Raise PermissionError where the bus hangs up in the middle of it, as dbus-broker does."""
    try:
        yield
    except (BrokenPipeError, ConnectionResetError) as error:
        raise hung_up(error) from error


def hung_up(why: object) -> PermissionError:
    """Make the error for a bus that hangs up in the handshake or at the first message."""
    # A bus says no word to a user whom its policy does not let in.
    return PermissionError(
        f"the bus hung up on uid {os.geteuid()} without a word, as one does whose policy does not "
        f"let this user in ({why})"
    )
