"""How a devbox comes up: policy, mounts, launch commands, entrypoint, in this order.

Nothing runs in it before the gateway has said that its policy is in force.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from stockade.control.attachments import current_push
from stockade.control.devbox_plans import (
    DevboxRequest,
    Source,
    host_plan,
    user_of,
)
from stockade.control.devbox_records import Devbox, DevboxRecords
from stockade.control.executions import Executions
from stockade.control.host import Host
from stockade.control.mounts import CodeMount, FileMount, Mount, ObjectMount
from stockade.control.object_values import StoredObject
from stockade.control.rollouts import Rollouts
from stockade.control.states import FailureReason, Status
from stockade.control.store.base import Store
from stockade.errors import (
    EnforcementError,
    InvalidRequest,
    NotFound,
    StockadeError,
    Unavailable,
)
from stockade.hosting import Stream
from stockade.spec import DevboxId

_SHOWN = 2_000


class SecretValues(Protocol):
    """Whoever keeps secrets."""

    async def values(self, account: str, names: Iterable[str]) -> Mapping[str, str]:
        """The values of secrets by their names. Raises `InvalidRequest`."""


class ObjectContents(Protocol):
    """Whoever keeps objects."""

    async def get(self, account: str, object_id: str) -> StoredObject:
        """The object without its content. Raises `NotFound`."""

    async def content(self, account: str, object_id: str) -> AsyncIterator[bytes]:
        """The content of an object."""


class StepFailed(StockadeError):
    """A command that a devbox needs to come up has failed."""


class Launcher:
    """Brings devboxes up, the first time and after they were suspended."""

    def __init__(
        self,
        store: Store,
        host: Host,
        records: DevboxRecords,
        executions: Executions,
        rollouts: Rollouts,
        secrets: SecretValues,
        objects: ObjectContents,
    ) -> None:
        self._store = store
        self._host = host
        self._records = records
        self._executions = executions
        self._rollouts = rollouts
        self._secrets = secrets
        self._objects = objects
        #: Starting, stopping and destroying one devbox take turns.
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def launch(
        self, devbox: Devbox, mounts: Sequence[Mount] = ()
    ) -> Devbox | None:
        """Bring *devbox* to `running`; None if it is not to run any more.

        What goes wrong becomes its failure; but a disk is not given up because the host
        has no room now, or a secret is gone: then it is suspended again.
        """
        try:
            async with self.turns[devbox.id]:
                current = await self._records.find(devbox.id)
                if current is None or current.status is not Status.PROVISIONING:
                    return None
                await self._start(devbox)
            if await self._records.move(devbox.id, Status.INITIALIZING) is None:
                return None
            for mount in mounts:
                await self._mount(devbox, mount)
            for command in devbox.launch.get("launch_commands", ()):
                await self._step(devbox, command)
            return await self._run(devbox)
        except (Unavailable, InvalidRequest, EnforcementError) as error:
            if not (devbox.boots and await self._suspend_again(devbox, error)):
                await self._fail(devbox, FailureReason.HEALTH, error)
        except StockadeError as error:
            await self._fail(devbox, FailureReason.EXECUTION, error)
        except Exception as error:
            await self._fail(devbox, FailureReason.HEALTH, error)
            raise
        return None

    async def check(self, account: str, request: DevboxRequest) -> None:
        """Raise `InvalidRequest` if a secret or an object that is named is not there."""
        await self._secrets.values(account, request.secrets.values())
        for mount in request.mounts:
            if isinstance(mount, ObjectMount):
                try:
                    await self._objects.get(account, mount.object_id)
                except NotFound as error:
                    raise InvalidRequest(f"mounts: {error}") from None

    async def entrypoint_ended(self, devbox: Devbox) -> bool:
        """Wait for the entrypoint to end; whether that is to end the devbox, too."""
        records = self._executions.records
        for record in await records.running(devbox.id, "entrypoint"):
            await self._executions.finish(record)
        found = await self._records.find(devbox.id)
        # It also ends when the devbox is suspended, and begins anew afterwards.
        return (
            found is not None
            and found.status is Status.RUNNING
            and found.boots == devbox.boots
        )

    async def destroy(self, devbox: str) -> None:
        """End a devbox on its host and delete its disk, when its turn comes."""
        async with self.turns[devbox]:
            for record in await self._executions.records.running(devbox):
                await self._executions.give_up(record)
            await self._host.destroy(DevboxId(devbox))
        self.turns.pop(devbox, None)

    async def _start(self, devbox: Devbox) -> None:
        async with self._store.read() as session:
            push = await current_push(session, devbox.id, devbox.policy_id)
        names = devbox.secrets
        values = await self._secrets.values(devbox.account, names.values())
        source = Source(devbox.image, devbox.blueprint_id, devbox.snapshot_id)
        if devbox.boots:
            # It has a disk of its own by now.
            source = replace(source, snapshot_id=None)
        given = {name: values[secret] for name, secret in names.items()}
        env = {**devbox.environment, **given}
        plan = host_plan(devbox.id, devbox.account, source, devbox.launch, env)
        # A change of the policy that came meanwhile is pushed before anything runs.
        await self._rollouts.started(await self._host.start(plan, push))

    async def _run(self, devbox: Devbox) -> Devbox | None:
        if devbox.entrypoint is not None:
            await self._executions.start(devbox, devbox.entrypoint, source="entrypoint")
        return await self._records.move(devbox.id, Status.RUNNING)

    async def _mount(self, devbox: Devbox, mount: Mount) -> None:
        match mount:
            case FileMount(target, content):
                await self._write(devbox, target, _once(content.encode()))
            case ObjectMount(object_id, path):
                kind = (await self._objects.get(devbox.account, object_id)).content_type
                stored = await self._objects.content(devbox.account, object_id)
                if kind not in _ARCHIVES:
                    await self._write(devbox, path, stored)
                    return
                archive = f"/tmp/.{object_id}"  # noqa: S108 - inside the devbox
                await self._write(devbox, archive, stored)
                await self._step(devbox, _ARCHIVES[kind](archive, path))
            case CodeMount():
                env = {"STOCKADE_GIT_TOKEN": mount.token} if mount.token else {}
                shown = f"git clone {mount.owner}/{mount.name}"
                await self._step(devbox, mount.script(), env=env, shown=shown)

    async def _write(
        self, devbox: Devbox, path: str, content: AsyncIterator[bytes]
    ) -> None:
        await self._host.write_file(
            devbox.id, path, user_of(devbox.launch).name, content
        )

    async def _step(
        self,
        devbox: Devbox,
        command: str,
        env: Mapping[str, str] | None = None,
        shown: str | None = None,
    ) -> None:
        record = await self._executions.start(
            devbox, command, source="setup_commands", env=env, shown=shown
        )
        record = await self._executions.finish(record)
        if record.exit_status:
            said = await self._executions.tail(record, Stream.STDERR)
            raise StepFailed(
                f"{record.command[:200]!r} ended with status {record.exit_status}: "
                f"{said[-_SHOWN:].decode(errors='replace').strip()}"
            )

    async def _suspend_again(self, devbox: Devbox, error: Exception) -> bool:
        """Put a devbox back that could not be resumed; False if it is further than that."""
        async with self.turns[devbox.id]:
            await self._host.stop(devbox.id)
            moved = await self._records.move(
                devbox.id, Status.SUSPENDED, message=f"not resumed: {error}"
            )
        return moved is not None

    async def _fail(
        self, devbox: Devbox, reason: FailureReason, error: Exception
    ) -> None:
        await self._records.move(
            devbox.id, Status.FAILURE, failure=reason, message=str(error)
        )
        await self.destroy(devbox.id)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _untar(archive: str, path: str) -> str:
    target = shlex.quote(path)
    return (
        f"mkdir -p {target} && tar -xf {archive} -C {target} --no-same-owner; "
        f"status=$?; rm -f {archive}; exit $status"
    )


def _gunzip(archive: str, path: str) -> str:
    # A `gzip` object is one compressed file, or a compressed archive.
    target = shlex.quote(path)
    return (
        f"if tar -tzf {archive} >/dev/null 2>&1; then {_untar(archive, path)}; fi; "
        f'mkdir -p "$(dirname {target})" && gzip -dc {archive} >{target}; '
        f"status=$?; rm -f {archive}; exit $status"
    )


_ARCHIVES: Mapping[str, Callable[[str, str], str]] = {
    "tar": _untar,
    "tgz": _untar,
    "gzip": _gunzip,
}
