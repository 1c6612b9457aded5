"""Where the executions of one devbox are kept: `<execution id>/stdout`, `stderr`, `end`.

`end` is written last and tells exit status and sizes. An execution without one was lost
with the server that watched it. When the outputs of a devbox take more than they may,
those of the execution that ended first are deleted; how it ended stays known.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stockade.agent.child import KILLED
from stockade.agent.means import Bounds
from stockade.agent.outputs import Output
from stockade.hosting import ExecutionId, Stream

Outputs = Mapping[Stream, Output]

_END = "end"


@dataclass(frozen=True, slots=True)
class Ended:
    """An execution that has ended, as it is kept."""

    status: int
    outputs: Outputs


class Shelf:
    """The executions in *directory*, which is made when there is one."""

    def __init__(self, directory: Path, bounds: Bounds) -> None:
        self._directory = directory
        self._bounds = bounds
        # What is kept of each that has ended, in bytes, in the order of their ends.
        self._sizes: dict[ExecutionId, int] = {}
        self._used = 0
        self._is_read = False

    def begin(self, execution: ExecutionId) -> Outputs:
        """Make room for the outputs of a new execution."""
        self._read()
        place = self._directory / execution
        place.mkdir(mode=0o700, parents=True)
        return {
            stream: Output(place / stream, take_room=partial(self._take, [0]))
            for stream in Stream
        }

    def forget(self, execution: ExecutionId) -> None:
        """Remove one that could not be started."""
        shutil.rmtree(self._directory / execution, ignore_errors=True)

    def end(self, execution: ExecutionId, status: int, outputs: Outputs) -> bool:
        """Keep how an execution ended; whether that was possible."""
        for output in outputs.values():
            output.close()
        self._sizes[execution] = sum(output.kept for output in outputs.values())
        facts = {
            "status": status,
            **{
                stream.value: [output.size, output.kept, output.ring_from]
                for stream, output in outputs.items()
            },
        }
        place = self._directory / execution
        try:
            scratch = place / f"{_END}.new"
            scratch.write_text(json.dumps(facts))
            scratch.replace(place / _END)
        except OSError:
            return False
        return True

    def find(self, execution: ExecutionId) -> Ended | None:
        """An execution that has ended, if there is one."""
        place = self._directory / execution
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads((place / _END).read_bytes())
            outputs = {
                stream: Output(place / stream, *facts[stream.value])
                for stream in Stream
            }
            return Ended(facts["status"], outputs)
        if not place.is_dir():
            return None
        return Ended(KILLED, {stream: _found(place / stream) for stream in Stream})

    def _take(self, taken: list[int], wanted: int) -> int:
        """Take room for *wanted* bytes of a stream that has *taken* so many."""
        wanted = min(wanted, self._bounds.stream - taken[0])
        while self._used + wanted > self._bounds.devbox and self._sizes:
            first = next(iter(self._sizes))
            self._used -= self._sizes.pop(first)
            for stream in Stream:
                for name in (stream.value, f"{stream}-end"):
                    (self._directory / first / name).unlink(missing_ok=True)
        room = max(0, min(wanted, self._bounds.devbox - self._used))
        taken[0] += room
        self._used += room
        return room

    def _read(self) -> None:
        """Count what an earlier server left."""
        if self._is_read:
            return
        self._is_read = True
        found = []
        with contextlib.suppress(FileNotFoundError):
            for place in self._directory.iterdir():
                files = [_found(place / stream).kept for stream in Stream]
                found.append((place.stat().st_mtime, place.name, sum(files)))
        for _, name, size in sorted(found):
            self._sizes[ExecutionId(name)] = size
            self._used += size


def _found(path: Path) -> Output:
    size = 0
    with contextlib.suppress(OSError):
        size = path.stat().st_size
    return Output(path, size, size)
