"""What the tests of the runtime share: real devboxes without a network.

A `Boxes` has a run directory and a mount namespace of its own: the latter belongs to one
thread, in which all calls are made, so that the test process keeps the machine's mounts.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self, TypeVar

from stockade.config import Settings
from stockade.runtime import overlay
from stockade.runtime.box import Box, BoxExit
from stockade.runtime.driver import Stdio
from stockade.runtime.images import Image, ImageStore
from stockade.runtime.prepare import BoxRequest
from stockade.spec import DevboxId, DevboxSpec

TIMEOUT = 60.0

_T = TypeVar("_T")
_REQUEST_FIELDS = frozenset(
    "nameservers disk trust_host_cas extra_ca_files console_size".split()
)


@functools.cache
def default_image() -> Image:
    """The default image, from the store that `stockade run` uses."""
    return asyncio.run(ImageStore(Settings().data_dir).ensure("default"))


@dataclass(frozen=True, slots=True)
class Done:
    """A devbox that has ended: how, and what it printed."""

    exit: BoxExit
    stdout: str
    stderr: str

    @property
    def status(self) -> int:
        return self.exit.status


class Running:
    """A devbox whose three streams are pipes of this process."""

    def __init__(self, boxes: Boxes, request: BoxRequest) -> None:
        self.boxes = boxes
        self.request = request
        self.box = Box(request)
        self.pid = 0
        self._ours: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self.received = {"stdout": b"", "stderr": b""}

    def create(self) -> None:
        if self.request.spec.terminal:
            self.boxes.do(self.box.prepare)
            self.pid = self.boxes.do(self.box.create)
            return
        stdin, ours = os.pipe()
        out, stdout = os.pipe()
        err, stderr = os.pipe()
        self._ours = {"stdin": ours, "stdout": out, "stderr": err}
        for name in ("stdout", "stderr"):
            thread = threading.Thread(target=self._read, args=(name,))
            thread.start()
            self._threads.append(thread)
        try:
            self.boxes.do(self.box.prepare)
            stdio = Stdio(stdin, stdout, stderr)
            self.pid = self.boxes.do(lambda: self.box.create(stdio))
        finally:
            for end in (stdin, stdout, stderr):
                os.close(end)

    def _read(self, name: str) -> None:
        while piece := os.read(self._ours[name], 1 << 16):
            self.received[name] += piece

    def start(self) -> None:
        self.boxes.do(self.box.start)

    def write(self, data: bytes) -> None:
        os.write(self._ours["stdin"], data)

    def close_stdin(self) -> None:
        os.close(self._ours.pop("stdin"))

    def finish(self) -> Done:
        """Wait for the end and take everything away."""
        if "stdin" in self._ours:
            self.close_stdin()
        ended = self.boxes.do(self.box.wait)
        self.remove()
        out, err = (self.received[name].decode() for name in ("stdout", "stderr"))
        return Done(ended, out, err)

    def remove(self) -> None:
        self.boxes.do(self.box.remove)
        for thread in self._threads:
            thread.join(TIMEOUT)
        for end in self._ours.values():
            os.close(end)
        self._ours = {}


class Boxes:
    """Makes devboxes and leaves nothing. Use as a context manager."""

    def __init__(self, runtime: str = "crun", image: Image | None = None) -> None:
        self.runtime = runtime
        self.image = image or default_image()
        self._count = 0
        self._made: list[Running] = []

    def __enter__(self) -> Self:
        self.run_dir = Path(tempfile.mkdtemp(prefix="stockade-test-"))
        self.run_dir.chmod(0o711)
        self._thread = ThreadPoolExecutor(1, "boxes", overlay.enter_private_mounts)
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._made:
            running.remove()
        self._thread.shutdown()
        shutil.rmtree(self.run_dir)

    def do(self, call: Callable[[], _T]) -> _T:
        """Make a blocking call in the mount namespace of these devboxes."""
        return self._thread.submit(call).result(TIMEOUT)

    def request(self, *argv: str, **fields: Any) -> BoxRequest:
        """A request: keywords are fields of it, or of its spec."""
        self._count += 1
        name = DevboxId(f"{self.run_dir.name}-{self._count}")
        own = {key: fields.pop(key) for key in _REQUEST_FIELDS & set(fields)}
        return BoxRequest(
            DevboxSpec(name, argv, **fields),
            self.image,
            self.run_dir / name,
            runtime=self.runtime,
            **{"nameservers": (IPv4Address("192.0.2.53"),), **own},
        )

    def create(self, *argv: str, **fields: Any) -> Running:
        running = Running(self, self.request(*argv, **fields))
        self._made.append(running)
        running.create()
        return running

    def start(self, *argv: str, **fields: Any) -> Running:
        running = self.create(*argv, **fields)
        running.start()
        return running

    def run(self, *argv: str, stdin: bytes = b"", **fields: Any) -> Done:
        """Run to the end."""
        running = self.start(*argv, **fields)
        if stdin:
            running.write(stdin)
        return running.finish()

    def sh(self, script: str, **fields: Any) -> Done:
        return self.run("bash", "-c", script, **fields)

    def python(self, script: str, **fields: Any) -> Done:
        return self.run("python3", "-c", script, **fields)


def signalled(number: signal.Signals) -> int:
    """The exit status that a shell shows for a signal."""
    return 128 + int(number)


def make_authority(name: str) -> bytes:
    """Make a certificate authority and return its certificate as PEM."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
