"""A PostgreSQL of the tests' own: in a temporary directory, on a Unix socket only."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_BINARIES = Path("/usr/lib/postgresql")
_SECONDS = 60.0


class Postgres:
    """A server for tests, without durability. PostgreSQL refuses to run as root."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="stockade-pg-"))
        self._binaries = _newest()
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._directory, nobody.pw_uid, nobody.pw_gid)
            self._as = {
                "user": nobody.pw_uid,
                "group": nobody.pw_gid,
                "extra_groups": [],
            }

    def start(self) -> None:
        """Make the files of a server and start it."""
        data = self._directory / "data"
        made = self._run(
            "initdb", "-D", str(data), "-A", "trust", "-U", "stockade", "-N"
        )
        assert made.returncode == 0, made.stderr.decode()
        settings = (
            "listen_addresses=",
            f"unix_socket_directories={self._directory}",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "shared_buffers=16MB",
        )
        argv = [str(self._binaries / "postgres"), "-D", str(data)]
        for setting in settings:
            argv += ["-c", setting]
        log = (self._directory / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                argv, cwd=self._directory, stdout=log, stderr=log, **self._as
            )  # type: ignore[call-overload]
        deadline = time.monotonic() + _SECONDS
        while self._psql("select 1").returncode != 0:
            running = self._process.poll() is None and time.monotonic() < deadline
            assert running, (self._directory / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def new_database(self) -> str:
        """The URL of a database that is empty."""
        name = f"t{uuid.uuid4().hex}"
        made = self._psql(f"create database {name}")
        assert made.returncode == 0, made.stderr.decode()
        return f"postgresql://stockade@/{name}?host={self._directory}"

    def drop_database(self, url: str) -> None:
        """Remove a database."""
        name = url.partition("@/")[2].partition("?")[0]
        self._psql(f"drop database {name} with (force)")

    def _psql(self, statement: str) -> subprocess.CompletedProcess[bytes]:
        host = str(self._directory)
        return self._run(
            "psql", "-h", host, "-U", "stockade", "-d", "postgres", "-qc", statement
        )

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(self._binaries / program), *arguments],
            cwd=self._directory,
            capture_output=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            **self._as,
        )  # type: ignore[call-overload]


@contextlib.contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server that runs within the block."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _newest() -> Path:
    """Where the programs are: Debian has a directory for each version."""
    found = sorted(_BINARIES.glob("*/bin"), key=lambda path: int(path.parent.name))
    if found:
        return found[-1]
    initdb = shutil.which("initdb")
    assert initdb, "PostgreSQL is missing: scripts/setup test"
    return Path(initdb).parent
