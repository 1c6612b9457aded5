"""`stockade serve` for tests: on a free port, with a data directory of its own."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Self

from stockade.config import Settings
from stockade.runtime import removal
from tests.lab.lab import Lab
from tests.lab.stockade import COMMAND

_START: Final = 30.0
_STOP: Final = 40.0
_URL: Final = re.compile(r"https?://\S+")


class Server:
    """A server, from start to stop; in the host namespace of *lab* if there is one.

    The images are those of the machine: to make one takes a minute and an archive.
    """

    def __init__(
        self,
        lab: Lab | None = None,
        *options: str,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.lab = lab
        self.key = f"ak_{secrets.token_hex(20)}"
        self.url = ""
        self._options = options
        self._environ = dict(environ or {})
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="stockade-server-")
            directory = Path(self._scratch.name)
            # What runs in a devbox has to get through to its disk.
            directory.chmod(0o711)
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / "data"

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def variables(self) -> dict[str, str]:
        """What the official clients read from their environment."""
        found = {"RUNLOOP_BASE_URL": self.url, "RUNLOOP_API_KEY": self.key}
        if self.url.startswith("https"):
            found["SSL_CERT_FILE"] = str(self.data / "tls" / "ca.pem")
        return found

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it says where it listens."""
        self.data.mkdir(mode=0o755, parents=True, exist_ok=True)
        images = self.data / "images"
        if not images.exists():
            images.symlink_to(Settings().data_dir / "images")
        self._log = (self.directory / "server.log").open("ab")
        argv = (
            *(COMMAND, "serve", "--data", str(self.data)),
            *("--listen", "127.0.0.1:0", *self._options),
        )
        environ = {
            "STOCKADE_API_KEY": self.key,
            "STOCKADE_RUN_DIR": str(self.directory / "run"),
            **self._environ,
        }
        self.process = self._popen(argv, environ)
        try:
            self.url = self._await_url()
        except BaseException:
            self.kill()
            self._clean()
            raise

    def _popen(
        self, argv: Sequence[str], environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        if self.lab is not None:
            return self.lab.popen_host(
                argv, env=environ, stdout=subprocess.PIPE, stderr=self._log
            )
        return subprocess.Popen(
            argv,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def _await_url(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        deadline = time.monotonic() + _START
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            said = b""
            while (left := deadline - time.monotonic()) > 0:
                if not selector.select(left):
                    break
                data = os.read(self.process.stdout.fileno(), 4096)
                said += data
                match = _URL.search(said.decode(errors="replace"))
                if match and b"\n" in said[match.end() - 1 :]:
                    return match[0]
                if not data:
                    break
        raise RuntimeError(f"no server: {said.decode(errors='replace')}\n{self.log}")

    def stop(self) -> int:
        """Ask it to end, wait, and take its files away; its exit status."""
        assert self.process is not None
        status = self.process.poll()
        if status is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(_STOP)
            except subprocess.TimeoutExpired:
                self.kill()
                raise RuntimeError(f"it does not end:\n{self.log[-4000:]}") from None
        self._close()
        self._clean()
        return status

    def kill(self) -> None:
        """Kill it, as a crash would. The directory stays: it can be started again."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(_STOP)
        self._close()

    def _clean(self) -> None:
        if self._scratch is not None:
            run = self.directory / "run"
            if run.is_dir():
                removal.sweep(run)  # One that was killed has left devboxes.
            self._scratch.cleanup()

    def _close(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        if self._log is not None:
            self._log.close()
