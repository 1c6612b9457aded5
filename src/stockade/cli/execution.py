"""An execution, with the streams of this process attached to it.

Each output is a stream of the API, read by a thread of its own and written as it comes;
a stream that breaks is taken up again where it broke.
"""

from __future__ import annotations

import codecs
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import httpx2

from stockade.cli.remote import Remote, segment
from stockade.errors import InvalidRequest, StockadeError, Unavailable

_CHUNK = 65_536
_HOLD = 20.0
# The server sends a comment at least every 25 seconds.
_SILENCE = 60.0
_RETRIES = 5
_END_OF_FILE = {"signal": "EOF"}


@dataclass(frozen=True, slots=True)
class Attached:
    """What of this process is attached. *keys*: the input is a terminal's, as typed."""

    read_input: bool = False
    keys: bool = False


def run_attached(remote: Remote, devbox: str, command: str, attached: Attached) -> int:
    """Run *command* in the devbox with the path *devbox*; its exit status."""
    view = remote.post(
        f"{devbox}/execute_async",
        {"command": command, "attach_stdin": attached.read_input},
    )
    path = f"{devbox}/executions/{segment(view['execution_id'])}"
    outputs = [
        _Output(remote, f"{path}/stream_stdout_updates", sys.stdout.buffer),
        _Output(remote, f"{path}/stream_stderr_updates", sys.stderr.buffer),
    ]
    if attached.read_input:
        # Not waited for: it waits for input that may never come.
        threading.Thread(
            target=_pass_input, args=(remote, path, sys.stdin.fileno()), daemon=True
        ).start()
    for output in outputs:
        output.start()
    try:
        status = _await_end(remote, path)
    except KeyboardInterrupt:
        remote.post(f"{path}/kill", {"kill_process_group": True})
        return 128 + signal.SIGINT
    for output in outputs:
        output.join()
    for output in outputs:
        if output.error is not None:
            raise output.error
    return status


def _await_end(remote: Remote, path: str) -> int:
    while True:
        view: dict[str, Any] | None = remote.post(
            f"{path}/wait_for_status",
            {"statuses": ["completed"], "timeout_seconds": _HOLD},
            seconds=_HOLD + 15.0,
            accepted=frozenset({408}),
        )
        if view is not None and view["status"] == "completed":
            return int(view.get("exit_status") or 0)


class _Output(threading.Thread):
    """Writes one output of an execution as it comes."""

    def __init__(self, remote: Remote, path: str, target: BinaryIO) -> None:
        super().__init__(daemon=True)
        self._remote = remote
        self._path = path
        self._target = target
        self._offset = 0
        self.error: StockadeError | None = None

    def run(self) -> None:
        """Read to the end of the stream, however often it breaks."""
        failures = 0
        while True:
            before = self._offset
            try:
                self._follow()
            except (StockadeError, _Broken) as error:
                failures = 0 if self._offset > before else failures + 1
                retried = isinstance(error, _Broken | Unavailable)
                if retried and failures < _RETRIES:
                    continue
                self.error = (
                    error
                    if isinstance(error, StockadeError)
                    else Unavailable(f"the output cannot be read any more: {error}")
                )
            except OSError:
                # Nobody reads our output any more. The command runs on, as with a pipe.
                pass
            return

    def _follow(self) -> None:
        with self._remote.stream(
            "GET",
            self._path,
            params={"offset": str(self._offset)},
            headers={"Accept": "text/event-stream"},
            timeout=httpx2.Timeout(_SILENCE, connect=5.0),
        ) as response:
            for chunk in events(response.iter_bytes()):
                self._target.write(chunk["output"].encode())
                self._target.flush()
                self._offset = chunk["offset"]


class _Broken(Exception):
    """The server ended a stream before the execution's end."""


def events(parts: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the chunks of an output from a stream of events."""
    pending = b""
    name = ""
    for part in parts:
        *lines, pending = (pending + part).split(b"\n")
        for line in lines:
            if line.startswith(b"event:"):
                name = line[6:].strip().decode()
            elif line.startswith(b"data:"):
                value = json.loads(line[5:])
                if name == "error":
                    raise _Broken(value.get("message"))
                yield value
            elif not line:
                name = ""


def _pass_input(remote: Remote, path: str, fd: int) -> None:
    """Send standard input on. An execution that has ended takes no more of it."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        while data := os.read(fd, _CHUNK):
            text = decoder.decode(data)
            if text:
                remote.post(f"{path}/send_std_in", {"text": text})
        decoder.decode(b"", final=True)
        remote.post(f"{path}/send_std_in", _END_OF_FILE)
    except UnicodeDecodeError:
        sys.stderr.write(
            "stockade: standard input is not UTF-8; copy the file instead\n"
        )
        remote.post(f"{path}/kill", {})
    except (StockadeError, OSError, InvalidRequest):
        return
