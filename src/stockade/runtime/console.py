"""The socket through which a runtime hands over a terminal."""

from __future__ import annotations

import array
import os
import socket
from pathlib import Path
from typing import Self

from stockade.errors import Unavailable

_TIME_LIMIT = 10.0


class ConsoleSocket:
    """Listens at *path*, once, for one descriptor. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Self:
        try:
            self._listener.bind(os.fsencode(self.path))
        except OSError as error:
            self._listener.close()
            raise Unavailable(
                f"cannot listen at {self.path} ({error}): set a shorter run_dir"
            ) from None
        self._listener.listen(1)
        self._listener.settimeout(_TIME_LIMIT)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def receive(self) -> int:
        """Return the descriptor of the terminal that the runtime has sent."""
        try:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(_TIME_LIMIT)
                room = array.array("i").itemsize
                _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_LEN(room))
        except TimeoutError:
            raise Unavailable("the container runtime sent no terminal") from None
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array.array("i", data[:room])
                os.set_inheritable(descriptors[0], False)
                return descriptors[0]
        raise Unavailable("the container runtime sent no terminal")
