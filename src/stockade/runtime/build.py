"""Runs mmdebstrap and tells how far it is.

It runs in a mount namespace of its own: what it mounts into the image it builds is gone
when it is, and can never be mistaken for a part of the image.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from stockade.command import spawn
from stockade.errors import CommandError, Unavailable
from stockade.runtime import overlay
from stockade.runtime.recipe import Recipe

Report = Callable[[float, str], None]

# What mmdebstrap says when it begins a part, and the share of the time before it.
_PARTS = (
    ("I: running apt-get update", 0.02, "reading package lists"),
    ("I: downloading packages", 0.10, "downloading packages"),
    ("I: extracting archives", 0.20, "unpacking the essential packages"),
    ("I: installing essential", 0.25, "installing the essential packages"),
    ("I: installing remaining", 0.50, "installing the other packages"),
    ("I: running --customize", 0.95, "adding the user"),
    ("I: cleaning", 0.97, "cleaning up"),
)
# A step within a part brings it this much of the way to the next part.
_STEP = 1 / 80
_STEPS = ("Get:", "Unpacking ", "Setting up ")
_KEPT_LINES = 15
_PATIENCE = 3.0
_CANCEL_CHECK_MS = 200


class Progress:
    """Turns lines of mmdebstrap's output into a fraction that only grows."""

    def __init__(self) -> None:
        self.fraction = 0.0
        self.text = "starting"
        self._next = _PARTS[0][1]

    def read(self, line: str) -> bool:
        """Take one line; return whether anything changed."""
        for number, (beginning, fraction, text) in enumerate(_PARTS):
            if line.startswith(beginning):
                after = _PARTS[number + 1 :]
                self.fraction, self.text = fraction, text
                self._next = after[0][1] if after else 1.0
                return True
        if line.startswith(_STEPS):
            self.fraction += (self._next - self.fraction) * _STEP
            return True
        return False


class ImageBuild:
    """One run of mmdebstrap. *cancelled* ends it soon, with `Unavailable`."""

    def __init__(
        self,
        recipe: Recipe,
        directory: Path,
        report: Report,
        cancelled: threading.Event,
    ) -> None:
        self._recipe = recipe
        self._directory = directory
        self._report = report
        self._cancelled = cancelled

    def run(self) -> Path:
        """Build and return the root file system, a directory below ours.

        Blocks for half a minute or so. Changes the mount namespace of its thread.
        """
        check_tools(self._directory)
        overlay.enter_private_mounts()
        target = self._directory / "rootfs"
        sources = None
        if self._recipe.sources:
            sources = self._directory / "debian.sources"
            stanzas = (source.render() for source in self._recipe.sources)
            sources.write_text("\n".join(stanzas))
        argv = self._recipe.argv(target, sources)
        status, said = self._follow(argv)
        if self._cancelled.is_set():
            raise Unavailable("the build of the default image was cancelled")
        if status:
            raise CommandError(
                ["mmdebstrap", self._recipe.suite], status, "\n".join(said)
            )
        overlay.unmount_all(self._directory)
        # Devices are made by the runtime for each devbox.
        shutil.rmtree(target / "dev")
        (target / "dev").mkdir(mode=0o755)
        return target

    def _follow(self, argv: Sequence[str]) -> tuple[int, list[str]]:
        """Run *argv*, report its progress; return its status and its last lines."""
        # Files there are executed, and read by apt's own user: not on /tmp's terms.
        env = {**os.environ, "TMPDIR": str(self._directory), "LC_ALL": "C.UTF-8"}
        reading, writing = os.pipe()
        try:
            # Not in our process group: Ctrl-C ends it through us, in good order.
            process = spawn(
                argv, stdout=writing, stderr=writing, env=env, start_new_session=True
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        with open(reading, "rb", buffering=0) as output:
            said = self._read(output, process.pid)
        return process.wait(), said

    def _read(self, output: IO[bytes], pid: int) -> list[str]:
        """Read to the end, which comes early when the build is cancelled."""
        progress, said, rest = Progress(), deque[str](maxlen=_KEPT_LINES), b""
        poll = select.poll()
        poll.register(output, select.POLLIN)
        deadline = None
        while True:
            if self._cancelled.is_set() and deadline is None:
                os.killpg(pid, signal.SIGTERM)
                deadline = time.monotonic() + _PATIENCE
            if deadline is not None and time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
            if not poll.poll(_CANCEL_CHECK_MS):
                continue
            piece = output.read(1 << 16)
            if not piece:
                return list(said)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                text = line.decode("utf-8", "replace").strip()
                said.append(text)
                if progress.read(text) and not self._cancelled.is_set():
                    self._report(progress.fraction, progress.text)


def check_tools(directory: Path) -> None:
    """Refuse to begin what cannot end well, and say what is missing."""
    if shutil.which("mmdebstrap") is None:
        raise Unavailable(
            "the default image is built by mmdebstrap, which is not installed: "
            "install the package mmdebstrap, or use `--image` with a rootfs tar"
        )
    flags = os.statvfs(directory).f_flag
    if flags & (os.ST_NOEXEC | os.ST_NODEV | os.ST_NOSUID):
        raise Unavailable(
            f"{directory} is mounted noexec, nodev or nosuid: an image cannot be built "
            "there; set data_dir to a directory on another file system"
        )
