"""`Lab`: brings the small internet up, asks it what it saw, takes it down."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.lab import netns, witness
from tests.lab.certificates import authority
from tests.lab.record import Entry
from tests.lab.witness import Destination
from tests.lab.zone import DEFAULT_ZONE, Behaviour, Name

_ROOT: Final = Path(__file__).resolve().parents[2]
# Waiting is done in slices, so that other threads may use the channel in between.
_SLICE: Final = 0.1
#: Where devboxes of this process's labs are: several suites may run at once.
RUN_DIR: Final = Path(f"/run/stockade-test-{os.getpid()}")
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Lab:
    """An internet of the test's own; use as a context manager.

    It is gone when the block ends, however it ends: if this process is killed, the
    server process notices and removes the lab.
    """

    def __init__(self) -> None:
        self.id = netns.new_id()
        self.host = netns.host(self.id)
        self.inet = netns.inet(self.id)
        self.directory = netns.RUN / self.id
        self.zone: dict[str, Name] = dict(DEFAULT_ZONE)
        self._entries: dict[int, Entry] = {}
        self._lock = threading.RLock()
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._held: int | None = None

    # ------------------------------------------------------------------ life

    def __enter__(self) -> Self:
        netns.sweep()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._held = netns.lock(self.id)
        certificate, key = authority()
        (self.directory / "ca.pem").write_bytes(certificate)
        (self.directory / "ca.key").write_bytes(key)
        netns.create(self.id)
        ours, theirs = socket.socketpair()
        self._channel = ours
        module = (sys.executable, "-m", "tests.lab.servers")
        with theirs, (self.directory / "servers.log").open("wb") as log:
            self._server = self.popen_host(
                (*module, self.id, str(self.directory), str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=_ROOT,
                # The lock is shared: it is free when both processes are gone.
                pass_fds=(theirs.fileno(), self._held),
                start_new_session=True,
            )
        witness.install(self.id)
        self._answers = ours.makefile("rb")
        if not self._answers.readline():
            raise RuntimeError(self._log())

    def close(self) -> None:
        """Remove the lab; may be called twice."""
        if self._channel is not None:
            self._channel.shutdown(socket.SHUT_RDWR)
            self._answers.close()
            self._channel.close()
            self._channel = None
        if self._server is not None:
            try:
                self._server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        netns.remove(self.id)
        if not any(RUN_DIR.glob("dbx_*")):  # Another lab may still use it.
            shutil.rmtree(RUN_DIR, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _log(self) -> str:
        return (self.directory / "servers.log").read_text(errors="replace")

    def _call(self, **request: object) -> Any:
        with self._lock:
            if self._channel is None:
                raise RuntimeError("the lab is closed")
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            line = self._answers.readline()
            if not line:
                raise RuntimeError(f"the lab's servers ended: {self._log()}")
            answer = json.loads(line)
            if answer["faults"]:
                raise RuntimeError("a server failed:\n" + "\n".join(answer["faults"]))
            return answer["value"]

    # -------------------------------------------------------------- the record

    def _take(self, changes: list[dict[str, object]]) -> None:
        for raw in changes:
            entry = Entry.from_mapping(raw)
            self._entries[entry.id] = entry

    def sync(self) -> None:
        """Bring into the record all that left the host namespace so far."""
        with self._lock:
            self._take(self._call(op="sync"))

    def forget(self) -> None:
        """Drop the record so far: of an hour of traffic it would take all memory."""
        with self._lock:
            self.sync()
            self._entries.clear()

    @property
    def record(self) -> tuple[Entry, ...]:
        """All entries as of the last sync, oldest first."""
        with self._lock:
            return tuple(self._entries[key] for key in sorted(self._entries))

    def mark(self) -> int:
        """A point in the record, for `since`."""
        self.sync()
        return max(self._entries, default=0)

    def since(self, mark: int) -> tuple[Entry, ...]:
        """The entries that began after *mark*."""
        self.sync()
        return tuple(entry for entry in self.record if entry.id > mark)

    def seen(self, *, since: int = 0, **wanted: Any) -> tuple[Entry, ...]:
        """The entries that agree with kind, address, port, name, side."""
        return tuple(e for e in self.since(since) if e.is_about(**wanted))

    def wait_for(
        self, predicate: Callable[[Entry], bool], timeout: float = 5.0, since: int = 0
    ) -> Entry:
        """The first entry that satisfies *predicate*, as soon as there is one."""
        deadline = time.monotonic() + timeout
        self.sync()
        while True:
            for entry in self.record:
                if entry.id > since and predicate(entry):
                    return entry
            if time.monotonic() > deadline:
                raise TimeoutError(f"the lab saw nothing of that in {timeout} s")
            with self._lock:
                self._take(self._call(op="wait", seconds=_SLICE))

    def packets(self) -> Counter[Destination]:
        """Packets that arrived so far; subtract an earlier count for a difference."""
        self.sync()
        return witness.packets(self.id)

    # ------------------------------------------------------------ its contents

    def set_name(
        self,
        name: str,
        *,
        a: Sequence[str] = (),
        aaaa: Sequence[str] = (),
        cname: str | None = None,
        https: Sequence[str] = (),
        txt: Sequence[str] = (),
        ttl: int = 60,
        behaviour: Behaviour = Behaviour.NORMAL,
    ) -> None:
        """Add a name, or replace all its records. `*.` and a name is a wildcard."""
        entry = Name(
            tuple(a), tuple(aaaa), cname, tuple(https), tuple(txt), ttl, behaviour
        )
        self.zone[name] = entry
        self._call(op="name", name=name, value=entry.to_mapping())

    def remove_name(self, name: str) -> None:
        """Make *name* not exist."""
        self.zone.pop(name, None)
        self._call(op="name", name=name, value=None)

    def set_service(self, address: str, service: str) -> None:
        """Choose what serves *address*: auto, ssh, greeting, silent, slow, sink, …"""
        self._call(op="service", address=address, service=service)

    def v4(self, name: str) -> str:
        """The first IPv4 address of a name."""
        return self.zone[name].a[0]

    def v6(self, name: str) -> str:
        """The first IPv6 address of a name."""
        return self.zone[name].aaaa[0]

    # ------------------------------------------------------------- its commands

    @property
    def ca_pem(self) -> Path:
        """The certificate of the test CA."""
        return self.directory / "ca.pem"

    def trust(self) -> dict[str, str]:
        """The environment by which devboxes come to trust the test CA."""
        return {"STOCKADE_EXTRA_CA_FILES": str(self.ca_pem)}

    @property
    def host_prefix(self) -> tuple[str, ...]:
        """What to put before a command to run it in the host namespace.

        As `ip netns exec`, with the lab's resolv.conf; but /sys stays, and with it the
        machine's control groups, which `ip netns exec` hides.
        """
        resolv = netns.ETC / self.host / "resolv.conf"
        script = f'mount --bind {resolv} /etc/resolv.conf && exec "$@"'
        return (
            *("nsenter", f"--net={netns.NETNS / self.host}"),
            *("unshare", "--mount", "--propagation", "slave"),
            *("sh", "-c", script, "sh"),
        )

    @property
    def inet_prefix(self) -> tuple[str, ...]:
        """What to put before a command to run it among the servers."""
        return ("nsenter", f"--net={netns.NETNS / self.inet}")

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """This process's environment without proxies, with `trust` and *extra*."""
        kept = {k: v for k, v in os.environ.items() if k.lower() not in _PROXIES}
        own = {"STOCKADE_RUN_DIR": str(RUN_DIR)}
        return {**kept, **own, **self.trust(), **(extra or {})}

    def exec_host(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - the name subprocess uses
        timeout: float = 30.0,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host namespace to its end."""
        return subprocess.run(
            (*self.host_prefix, *argv),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=self.environment(env),
            check=False,
        )

    def popen_host(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a command in the host namespace; its pid is the command's own."""
        environment = self.environment(env)
        return subprocess.Popen((*self.host_prefix, *argv), env=environment, **options)

    def popen_inet(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a server of the test's own; it can listen on `addresses.DIRECT4`."""
        return subprocess.Popen((*self.inet_prefix, *argv), **options)
