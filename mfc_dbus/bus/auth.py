"""From the address of a bus to a socket that it has let in.

Source: D-Bus specification, "Authentication Protocol".
"""

import asyncio
import os
import socket

from mfc_dbus.bus.backend import parse_address


async def connect(address: str) -> socket.socket:
    """Connect to the first bus of an address that answers. Raises OSError, ValueError."""
    error: OSError | None = None
    for transport, options in parse_address(address):
        path = options.get("path") or "\0" + options.get("abstract", "")
        if transport != "unix" or path == "\0":
            raise ValueError(f"Bus address '{address}' is not of the form unix:path=…")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, path)
        except OSError as failed:
            sock.close()
            error = failed
        else:
            return sock
    raise error or ValueError("The bus address is empty")


async def authenticate(sock: socket.socket, *, anonymous: bool) -> None:
    """Be let in by the bus, by the uid of this process or anonymously. Raises OSError."""
    loop = asyncio.get_running_loop()
    uid = str(os.geteuid()).encode().hex()
    mechanism = "ANONYMOUS" if anonymous else f"EXTERNAL {uid}"
    await loop.sock_sendall(sock, f"\0AUTH {mechanism}\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n"):
        received = await loop.sock_recv(sock, 1024)
        if not received:
            raise ConnectionAbortedError("the bus closed the connection before it let us in")
        answer += received
    if not answer.startswith(b"OK "):
        who = "anonymous users" if anonymous else f"uid {os.geteuid()}"
        said = answer.decode(errors="replace").strip()
        raise PermissionError(f"the bus does not let {who} in, and says {said!r}")
    await loop.sock_sendall(sock, b"BEGIN\r\n")
