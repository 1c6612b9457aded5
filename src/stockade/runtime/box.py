"""One devbox on this machine, from nothing to nothing.

Every step is a blocking call of a few milliseconds, to be made in a thread. The end of
the init process is seen on `Box.pidfd`; `Box.reap` then tells how it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import stat
import struct
import tempfile
import termios
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stockade.errors import Conflict, Unavailable
from stockade.runtime import cgroups, prepare, record, removal, syscalls
from stockade.runtime.bundle import (
    INIT,
    BoxCommand,
    BoxPlan,
    BoxUser,
    render_command,
)
from stockade.runtime.console import ConsoleSocket
from stockade.runtime.driver import Stdio
from stockade.runtime.oci import OciDriver
from stockade.runtime.prepare import BoxRequest
from stockade.runtime.starts import Starts
from stockade.runtime.tree import Tree
from stockade.runtime.users import find_account

# Far longer than the kernel takes to end everything in a process namespace.
_KILL_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class BoxExit:
    """How a devbox ended: 0-255 as a shell reports it, 128 + signal for a signal."""

    status: int
    oom_killed: bool


@dataclass(frozen=True, slots=True)
class BoxProcess:
    """A further process in a devbox, our child. *pidfd* is readable once it ended."""

    pid: int
    pidfd: int


class Box:
    """A devbox and everything that belongs to it.

    `prepare`, `create` (namespaces exist, nothing of the image has run), `start`, then
    `wait` or `reap`, then `remove`. `remove` is right after any of them, also after one
    that failed, and may be repeated. All calls are to be made in the mount namespace of
    `prepare`.
    """

    def __init__(self, request: BoxRequest) -> None:
        self._request = request
        self._directory = request.directory
        self._lock = -1
        self._driver: OciDriver | None = None
        self._exit: BoxExit | None = None
        self._plan: BoxPlan | None = None
        self._starts = Starts()
        self._cgroup = ""
        self._owner = (0, 0)
        #: Descriptor of the init process; -1 before `create`. Readable once it ended.
        self.pidfd = -1
        #: Our end of the terminal; -1 without one.
        self.terminal = -1
        #: Limits that were asked for, or are usual, and cannot be enforced here.
        self.warning: str | None = None

    def prepare(self) -> None:
        """Reserve ids, mount the root file system, write the bundle."""
        # The kernel's tables have real paths, and runtimes ask for them.
        self._directory = self._request.directory.resolve()
        self._request = replace(self._request, directory=self._directory)
        try:
            self._directory.mkdir(mode=0o711, parents=True)
        except FileExistsError:
            raise Conflict(f"there is a devbox at {self._directory} already") from None
        try:
            self._lock = removal.hold(self._directory)
        except BaseException:
            removal.dispose(self._directory)
            raise
        prepared = prepare.prepare(self._request)
        made = prepared.record
        self._cgroup, self._owner = made.cgroup, prepared.owner
        self._plan = prepared.plan
        self._driver = OciDriver(
            made.program, self._directory / "oci", cgroups=bool(made.cgroup)
        )
        self.warning = prepared.warning

    def create(self, stdio: Stdio | None = None) -> int:
        """Make the namespaces and the waiting init process; return its pid.

        *stdio* goes to the process as it is; None for a spec with a terminal, whose end
        is then in `terminal`.
        """
        driver, name = self._prepared(), self._request.spec.id
        syscalls.become_subreaper()
        if self._request.spec.terminal:
            with ConsoleSocket(self._directory / "console") as console:
                pid = driver.create(name, self._directory, console.path)
                self.terminal = console.receive()
        elif stdio is None:
            raise Conflict("a devbox without a terminal needs stdin, stdout and stderr")
        else:
            _give_pipes(stdio, self._owner)
            pid = driver.create(name, self._directory, stdio)
        self.pidfd = os.pidfd_open(pid)
        self._starts.init = pid
        return pid

    def start(self) -> None:
        """Let the command run."""
        self._prepared().start(self._request.spec.id)

    def set_env(self, env: Mapping[str, str]) -> None:
        """Let the commands that are started from now on have another environment."""
        spec = replace(self._request.spec, env=env)
        self._request = replace(self._request, spec=spec)

    def account(self, name: str, uid: int, home: str) -> BoxUser:
        """Return a user with the groups it has inside."""
        self._prepared()
        with Tree(self._directory / "rootfs") as tree:
            return find_account(tree, name, uid, home)

    def has_directory(self, path: str) -> bool:
        """Whether there is a directory on the devbox's disk at *path*."""
        with Tree(self._directory / "rootfs") as tree:
            found = tree.status(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def exec(self, command: BoxCommand, stdio: Stdio) -> BoxProcess:
        """Start another command, in a session of its own.

        It is the caller's to reap, and then to `forget`: the devbox cannot end before
        it was. Raises `CommandError`.
        """
        driver, plan = self._prepared(), self._plan
        if plan is None:
            raise Conflict("the devbox is not prepared")
        self._starts.wait_for_init(Path(INIT).name)
        base, user = plan.id_base, command.user
        _give_pipes(stdio, (base + user.uid, base + user.gid))
        process = render_command(self._request.spec, plan, command)
        scratch = Path(tempfile.mkdtemp(prefix="exec-", dir=self._directory))
        try:
            with self._starts.counted():
                pid = driver.exec(self._request.spec.id, process, stdio, scratch)
                self._starts.known.add(pid)
            return BoxProcess(pid, os.pidfd_open(pid))
        finally:
            shutil.rmtree(scratch)

    def forget(self, process: BoxProcess) -> None:
        """Hear that a process was reaped."""
        self._starts.known.discard(process.pid)

    def wait(self, timeout: float | None = None) -> BoxExit:
        """Block until the devbox has ended and say how; *timeout* is in seconds."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll(None if timeout is None else timeout * 1000)
        ended = self.reap()
        if ended is None:
            raise Unavailable(f"the devbox {self._request.spec.id} does not end")
        return ended

    def reap(self) -> BoxExit | None:
        """Say how the devbox ended, without waiting; None while it runs."""
        if self._exit is None and self.pidfd >= 0:
            found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
            if found is not None:
                died = found.si_code != os.CLD_EXITED
                status = found.si_status + (128 if died else 0)
                kills = cgroups.detect().oom_kills(self._cgroup) if self._cgroup else 0
                self._exit = BoxExit(status, oom_killed=kills > 0)
        return self._exit

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the init process, which hands it to the command."""
        if self._exit is None and self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def freeze(self, *, frozen: bool = True) -> None:
        """Stop everything in the devbox, or let it go on.

        Raises `Unavailable` on a machine without control groups for that.
        """
        if not self._cgroup:
            raise Unavailable("without control groups a devbox cannot be stopped")
        cgroups.detect().freeze(self._cgroup, frozen=frozen)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal its size."""
        if self.terminal >= 0:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)

    def remove(self) -> None:
        """End what runs and remove everything. Safe to repeat."""
        if self._lock < 0:
            return  # not ours: there was a box of that name before
        if self.pidfd >= 0 and self._exit is None:
            self.signal(signal.SIGKILL)
            self.wait(_KILL_PATIENCE)
        found = record.load(self._directory) if self._exit is not None else None
        if found is not None:
            # With the init process all others of its namespace have ended.
            removal.dismantle(self._directory, found)
        else:
            removal.dispose(self._directory)
        for descriptor in (self.pidfd, self.terminal, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self.pidfd = self.terminal = self._lock = -1

    def _prepared(self) -> OciDriver:
        if self._driver is None:
            raise Conflict("the devbox is not prepared")
        return self._driver


def _give_pipes(stdio: Stdio, owner: tuple[int, int]) -> None:
    """Let the devbox open its pipes again, as `/dev/stdout` for one."""
    for descriptor in (stdio.stdin, stdio.stdout, stdio.stderr):
        if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("pipe:"):
            os.fchown(descriptor, *owner)
