"""Moves bytes between the two sides of a connection.

One `Pump` per direction. What is small is received and sent: for a few kilobytes the
copies cost less than a pipe. A stream is moved without bringing it into the process:
`splice(2)` from a socket into a pipe and from the pipe into the other socket. A pipe is
held only while bytes are in it, so an idle connection costs no descriptor beyond its
two sockets. While the target takes nothing, the source is not read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from stockade.gateway.sides import Side

PIPE_BYTES = 1 << 20
POOLED_PIPES = 32
#: What is received at once without a pipe; a source that fills it is a stream.
SMALL = 16_384

_F_SETPIPE_SZ = 1031
_SPLICE_FLAGS = 0x01 | 0x02  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK


class PipePool:
    """Empty pipes for pumps to borrow."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """An empty non-blocking pipe: (read end, write end). Raises `OSError`."""
        if self._free:
            return self._free.pop()
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(ends[1], _F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # The user's share of pipe memory is used up: a small pipe works too.
        return ends

    def give_back(self, ends: tuple[int, int]) -> None:
        """Return an empty pipe."""
        if len(self._free) < POOLED_PIPES:
            self._free.append(ends)
        else:
            self.discard(ends)

    def discard(self, ends: tuple[int, int]) -> None:
        """Close a pipe, whatever is in it."""
        os.close(ends[0])
        os.close(ends[1])

    def close(self) -> None:
        """Close the pipes that nobody holds."""
        while self._free:
            self.discard(self._free.pop())


class Pump:
    """One direction: bytes from *source* to *target* until the stream ends.

    At the end of the stream *on_end* is called with None, when either socket fails with
    the error. It is called once, and not after `stop`. *before* is called once, when the
    first bytes are there and have not been taken.
    """

    __slots__ = (
        "_before",
        "_held",
        "_is_stream",
        "_left",
        "_on_end",
        "_pipe",
        "_pool",
        "_running",
        "_source",
        "_target",
        "moved",
    )

    def __init__(
        self,
        pool: PipePool,
        source: Side,
        target: Side,
        on_end: Callable[[OSError | None], None],
        before: Callable[[], None] | None = None,
    ) -> None:
        self._before = before
        self._pool = pool
        self._source = source
        self._target = target
        self._on_end = on_end
        self._pipe: tuple[int, int] | None = None
        self._held = 0  # octets in the pipe
        self._left = b""  # octets received that the target had no room for
        self._is_stream = False
        self._running = False
        self.moved = 0

    @property
    def is_idle(self) -> bool:
        """Whether no byte is on its way."""
        return not self._held and not self._left

    def start(self) -> None:
        """Begin to move bytes as they come."""
        self._running = True
        self._source.on_readable(self._step)

    def stop(self) -> None:
        """Stop moving bytes. Safe at any time, also twice."""
        if self._running:
            self._running = False
            self._source.on_readable(None)
            self._target.on_writable(None)
        if self._pipe is not None:
            self._pool.discard(self._pipe)
            self._pipe = None

    def _step(self) -> None:
        """Move what can be moved now, once in and once out: other pumps want turns too."""
        if self._before is not None:
            before, self._before = self._before, None
            before()
        try:
            if self._is_stream:
                self._step_stream()
            else:
                self._step_small()
        except BlockingIOError:
            pass  # Nothing there after all.
        except OSError as error:
            self._finish(error)

    def _step_small(self) -> None:
        data = self._source.sock.recv(SMALL)
        if not data:
            self._finish(None)
            return
        self._is_stream = len(data) == SMALL
        try:
            sent = self._target.sock.send(data)
        except BlockingIOError:
            sent = 0
        self.moved += sent
        if sent < len(data):
            self._left = data[sent:]
            self._wait_for_target()

    def _step_stream(self) -> None:
        self._pipe = self._pool.take()
        try:
            self._held = os.splice(
                self._source.sock.fileno(),
                self._pipe[1],
                PIPE_BYTES,
                flags=_SPLICE_FLAGS,
            )
        except BlockingIOError:
            pass
        finally:
            if not self._held:
                self._give_back()
        self._is_stream = self._held >= SMALL
        if self._held:
            self._drain()
        else:
            # The end; or TCP urgent data, at which splice stops for ever, and which
            # receiving steps over.
            self._step_small()

    def _drain(self) -> None:
        assert self._pipe is not None  # noqa: S101 - held bytes are in a pipe
        try:
            count = os.splice(
                self._pipe[0],
                self._target.sock.fileno(),
                self._held,
                flags=_SPLICE_FLAGS,
            )
        except BlockingIOError:
            count = 0
        self._held -= count
        self.moved += count
        if self._held:
            self._wait_for_target()
        else:
            self._give_back()

    def _wait_for_target(self) -> None:
        self._source.on_readable(None)
        self._target.on_writable(self._flush)

    def _flush(self) -> None:
        """Send what the target had no room for, and read on once it is gone."""
        try:
            if self._held:
                self._drain()
            elif self._left:
                sent = self._target.sock.send(self._left)
                self.moved += sent
                self._left = self._left[sent:]
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(error)
            return
        if not self._held and not self._left:
            self._target.on_writable(None)
            self._source.on_readable(self._step)

    def _give_back(self) -> None:
        if self._pipe is not None:
            self._pool.give_back(self._pipe)
            self._pipe = None

    def _finish(self, error: OSError | None) -> None:
        self.stop()
        self._on_end(error)
