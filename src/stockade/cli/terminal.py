"""The terminal of the person who runs a command, lent to the devbox and given back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import termios
import threading
import tty
from collections.abc import Callable, Iterator

_CHUNK = 65_536


@contextlib.contextmanager
def raw_terminal(fd: int) -> Iterator[None]:
    """Pass every key on as it is, and restore the terminal whatever happens."""
    saved = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def window_size() -> tuple[int, int]:
    """Columns and rows of the terminal."""
    size = shutil.get_terminal_size()
    return size.columns, size.lines


async def relay_terminal(master: int, stdin: int, stdout: int) -> None:
    """Pass keys to the devbox's terminal and its output back, until it ends."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def from_box() -> None:
        try:
            data = os.read(master, _CHUNK)
        except OSError:  # EIO: the last process that had it open is gone.
            data = b""
        if data:
            _write_all(stdout, data)
        else:
            loop.remove_reader(master)
            done.set()

    def from_person() -> None:
        data = os.read(stdin, _CHUNK)
        if data:
            with contextlib.suppress(OSError):
                _write_all(master, data)
        else:
            loop.remove_reader(stdin)

    loop.add_reader(master, from_box)
    loop.add_reader(stdin, from_person)
    try:
        await done.wait()
    finally:
        loop.remove_reader(master)
        loop.remove_reader(stdin)


class SafeStdio:
    """The descriptors a devbox gets for 0, 1 and 2.

    Pipes and files are passed as they are. A terminal is not: whoever holds it could
    read the person's keys and change its settings, so its bytes go through pipes.
    """

    def __init__(self) -> None:
        self._opened: list[int] = []
        self._threads: list[threading.Thread] = []

    def descriptors(self) -> tuple[int, int, int]:
        """What to give to the devbox; `close_ours` once it has them."""
        return self._input(0), self._output(1), self._output(2)

    def close_ours(self) -> None:
        """Close our copies of the ends that the devbox holds now."""
        while self._opened:
            os.close(self._opened.pop())

    def finish(self) -> None:
        """Wait until all that the devbox wrote is written out."""
        for thread in self._threads:
            thread.join()

    def _input(self, fd: int) -> int:
        if not _is_open(fd):
            self._opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            return self._opened[-1]
        if not os.isatty(fd):
            return fd
        ours, theirs = _pipe(lambda read, write: (write, read))
        self._opened.append(theirs)
        # Not joined: it waits for keys that may never come.
        threading.Thread(target=_copy, args=(fd, ours), daemon=True).start()
        return theirs

    def _output(self, fd: int) -> int:
        if not _is_open(fd):
            self._opened.append(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
            return self._opened[-1]
        if not os.isatty(fd):
            return fd
        ours, theirs = _pipe(lambda read, write: (read, write))
        self._opened.append(theirs)
        thread = threading.Thread(
            target=_copy, args=(ours, fd), kwargs={"keep": True}, daemon=True
        )
        thread.start()
        self._threads.append(thread)
        return theirs


def _pipe(order: Callable[[int, int], tuple[int, int]]) -> tuple[int, int]:
    """A pipe as (our end, their end)."""
    return order(*os.pipe2(os.O_CLOEXEC))


def _copy(source: int, target: int, *, keep: bool = False) -> None:
    """Copy until the source ends or the target takes no more."""
    with contextlib.suppress(OSError):
        while data := os.read(source, _CHUNK):
            _write_all(target, data)
    with contextlib.suppress(OSError):
        os.close(source if keep else target)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
