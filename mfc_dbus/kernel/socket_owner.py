"""The base of all classes that own a socket, which somebody has to close."""

import socket
from typing import Self


class SocketOwner:
    """A context manager that closes `_sock`, which a subclass opens."""

    _sock: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()
