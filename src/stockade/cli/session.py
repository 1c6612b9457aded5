"""One run from start to end: devbox, signals, terminal, time limit, records, summary."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys

import click

from stockade.agent import janitor
from stockade.agent.agent import Devbox, HostAgent
from stockade.agent.launch import Launched
from stockade.cli.flow_file import FlowFile
from stockade.cli.progress import image_progress
from stockade.cli.run_request import RunRequest
from stockade.cli.summary import Summary
from stockade.cli.terminal import (
    SafeStdio,
    raw_terminal,
    relay_terminal,
    window_size,
)
from stockade.config import Settings
from stockade.gateway.flowlog import FlowRecord
from stockade.runtime import overlay
from stockade.runtime.driver import Stdio
from stockade.runtime.images import ImageStore
from stockade.runtime.program import ProgramNotFound
from stockade.spec import DevboxId, PolicyPush

#: As of timeout(1).
TIMED_OUT = 124
GRACE_SECONDS = 10.0
_LAST_OUTPUT = 1.0

_PASSED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_ENDING = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))


def run_session(
    request: RunRequest, settings: Settings, launched: Launched, *, quiet: bool
) -> int:
    """Run *request* to its end; returns the exit status of its command."""
    logging.basicConfig(format="stockade: %(message)s", level=logging.WARNING)
    # So that what a run mounts goes with its last process, however it ends.
    overlay.enter_private_mounts()
    devbox = DevboxId(f"dbx_{secrets.token_hex(8)}")
    summary = Summary()
    file = FlowFile(request.flows) if request.flows is not None else None

    def take(record: FlowRecord) -> None:
        summary.add(record)
        if file is not None:
            file.write(record)

    def missed(count: int) -> None:
        summary.missed += count
        if file is not None:
            file.miss(count)

    try:
        with janitor.guarding(settings.run_dir, settings.run_dir / devbox):
            agent = HostAgent(settings, launched, take, missed)
            session = _Session(request, settings, devbox, agent, summary)
            try:
                status = asyncio.run(session.run())
            except ProgramNotFound as error:
                click.echo(f"stockade: {error}", err=True)
                status = error.status
    finally:
        if file is not None:
            _finish(file)
    if not quiet:
        for line in summary.lines():
            click.echo(line, err=True)
    return status


def _finish(file: FlowFile) -> None:
    """Close *file*, and say what is not in it: also to those who want no summary."""
    file.close()
    complaint = file.complaint()
    if complaint is not None:
        click.echo(f"stockade: {complaint}", err=True)


class _Session:
    """The parts of a run that share state."""

    def __init__(
        self,
        request: RunRequest,
        settings: Settings,
        devbox: DevboxId,
        agent: HostAgent,
        summary: Summary,
    ) -> None:
        self._request = request
        self._settings = settings
        self._id = devbox
        self._agent = agent
        self._summary = summary
        self._devbox: Devbox | None = None
        self._stdio = SafeStdio()
        self._task: asyncio.Task[int] | None = None
        self._asked_to_end = 0
        self._ended_by = 0
        self._timed_out = False

    async def run(self) -> int:
        """Start everything, wait for the command, take everything away."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        for number in _PASSED_ON:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            status = await self._attend(await self._start())
            self._count_refused()
        except asyncio.CancelledError:
            return 128 + self._ended_by
        else:
            return status
        finally:
            await self._agent.stop()

    def _count_refused(self) -> None:
        counted = self._agent.refused_packets()
        self._summary.spoofed = counted["spoofed"]
        self._summary.rejected = counted["rejected"]

    async def _start(self) -> Devbox:
        """Make the devbox while the gateway starts, then let it run."""
        request = self._request
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._agent.start())
                devbox = await self._prepare()
        except ExceptionGroup as group_error:
            # What failed first is what the person has to know.
            raise group_error.exceptions[0] from None
        push = PolicyPush(request.policy_id, 1, request.policy)
        await self._agent.release(devbox, push)
        self._devbox = devbox
        if devbox.box.warning and (request.memory or request.cpus):
            click.echo(f"stockade: {devbox.box.warning}", err=True)
        return devbox

    async def _prepare(self) -> Devbox:
        request = self._request
        with image_progress() as progress:
            image = await ImageStore(self._settings.data_dir).ensure(
                request.image, progress
            )
        devbox = await self._agent.prepare(
            request.spec(self._id),
            image,
            None if request.terminal else Stdio(*self._stdio.descriptors()),
            console_size=window_size() if request.terminal else None,
        )
        self._stdio.close_ours()
        return devbox

    async def _attend(self, devbox: Devbox) -> int:
        """Wait for the command, with its terminal and its time limit."""
        loop = asyncio.get_running_loop()
        timer = None
        if self._request.timeout is not None:
            timer = loop.call_later(self._request.timeout, self._time_out)
        try:
            if self._request.terminal:
                ended = await self._attend_terminal(devbox)
            else:
                ended = (await devbox.wait()).status
                await asyncio.to_thread(self._stdio.finish)
        finally:
            if timer is not None:
                timer.cancel()
        box_exit = await devbox.wait()
        if box_exit.oom_killed:
            click.echo("stockade: the devbox ran out of memory (--memory)", err=True)
        return TIMED_OUT if self._timed_out else ended

    async def _attend_terminal(self, devbox: Devbox) -> int:
        loop = asyncio.get_running_loop()

        def resize() -> None:
            devbox.box.resize(*window_size())

        resize()
        loop.add_signal_handler(signal.SIGWINCH, resize)
        stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
        with raw_terminal(stdin):
            relaying = loop.create_task(
                relay_terminal(devbox.box.terminal, stdin, stdout)
            )
            status = (await devbox.wait()).status
            # A process left behind may hold the terminal open; the command has ended.
            await asyncio.wait({relaying}, timeout=_LAST_OUTPUT)
            relaying.cancel()
        return status

    def _signalled(self, number: signal.Signals) -> None:
        """Pass a signal on; the third that asks for an end is not to be ignored."""
        if self._devbox is None:
            self._ended_by = int(number)
            if self._task is not None:
                self._task.cancel()
            return
        self._devbox.signal(number)
        if number in _ENDING:
            self._asked_to_end += 1
            if number is signal.SIGTERM:
                asyncio.get_running_loop().call_later(GRACE_SECONDS, self._kill)
            if self._asked_to_end > 2:
                self._kill()

    def _time_out(self) -> None:
        self._timed_out = True
        if self._devbox is not None:
            self._devbox.signal(signal.SIGTERM)
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._kill)

    def _kill(self) -> None:
        if self._devbox is not None:
            self._devbox.signal(signal.SIGKILL)
