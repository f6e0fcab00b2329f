"""What all that is open in the kernel has in common: a socket that somebody has to close."""

import socket
from typing import Self


class SocketOwner:
    """A context manager. Whoever inherits from it opens `_sock`."""

    _sock: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()
