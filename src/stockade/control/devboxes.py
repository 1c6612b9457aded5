"""Devboxes as the API knows them: create, wait, suspend, resume, shut down."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from stockade.control.changes import Changes
from stockade.control.clock import Clock
from stockade.control.devbox_plans import (
    DevboxRequest,
    Source,
    launch_parameters,
    read_metadata,
    read_name,
)
from stockade.control.devbox_records import PREFIX, Devbox, DevboxRecords
from stockade.control.idempotency import Note, no_note
from stockade.control.ids import Chance, new_id
from stockade.control.launch import Launcher
from stockade.control.mounts import Mount
from stockade.control.states import TERMINAL, ShutdownReason, Status
from stockade.control.store.base import Store
from stockade.control.store.devboxes import DevboxRow
from stockade.control.suspending import Suspender
from stockade.control.tasks import Tasks
from stockade.errors import Conflict, HoldElapsed, InvalidRequest

#: Clients give up on an answer after 30 seconds: the answer comes well before.
CREATE_HOLD = 20.0
MAX_HOLD = 30.0
_DESTROY_SECONDS = 5.0


class Sources(Protocol):
    """Whoever knows what devboxes can start from."""

    async def source(self, account: str, request: DevboxRequest) -> Source:
        """What *request* names. Raises `InvalidRequest` if there is no such thing."""


class DiskUse(Protocol):
    """Whoever copies disks."""

    async def copying(self, devbox: str) -> bool:
        """Whether a snapshot of the devbox is being made."""


class Devboxes:
    """Carries out what the API asks of devboxes."""

    def __init__(
        self,
        store: Store,
        records: DevboxRecords,
        launcher: Launcher,
        suspender: Suspender,
        *,
        sources: Sources,
        disks: DiskUse,
        changes: Changes,
        tasks: Tasks,
        clock: Clock,
        chance: Chance,
        machine: str = "x86_64",
        default_policy: str | None = None,
    ) -> None:
        self.records = records
        self._store = store
        self._launcher = launcher
        self._suspender = suspender
        self._sources = sources
        self._disks = disks
        self._changes = changes
        self._tasks = tasks
        self._clock = clock
        self._chance = chance
        self._machine = machine
        self._default_policy = default_policy

    async def create(
        self, account: str, body: Mapping[str, Any], note: Note = no_note
    ) -> str:
        """Make a devbox and begin to start it; its id.

        Raises `InvalidRequest` or `NotOffered`, and then there is none.
        """
        request = DevboxRequest.from_body(body)
        source = await self._sources.source(account, request)
        launch = launch_parameters(request, source, self._machine, self._default_policy)
        # What is not there is to be said now.
        await self._launcher.check(account, request)
        now = self._clock()
        row = DevboxRow(
            id=new_id(PREFIX, now, self._chance),
            account_id=account,
            name=request.name,
            status=Status.PROVISIONING.value,
            image=source.image,
            blueprint_id=source.blueprint_id,
            snapshot_id=source.snapshot_id,
            launch=launch,
            environment=dict(request.environment),
            secrets=dict(request.secrets),
            labels=dict(request.metadata),
            entrypoint=request.entrypoint,
            created_ms=now,
        )
        async with self._store.begin() as session:
            await self.records.insert(session, row)
            await note(session, row.id)
        self._tasks.start(self._launch(row.id, request.mounts), f"launch {row.id}")
        return row.id

    async def get(self, account: str, devbox: str) -> Devbox:
        """The devbox of that id. Raises `InvalidRequest` for no id, or `NotFound`."""
        return await self.records.get(account, devbox)

    async def started(self, account: str, devbox: str) -> Devbox:
        """A new devbox when it runs or has failed, or as it is after a while."""
        try:
            wanted = TERMINAL | {Status.RUNNING}
            return await self.wait(account, devbox, wanted, CREATE_HOLD)
        except HoldElapsed:
            return await self.get(account, devbox)

    async def wait(
        self, account: str, devbox: str, statuses: Collection[Status], seconds: float
    ) -> Devbox:
        """The devbox as soon as it has one of *statuses*. Raises `HoldElapsed`."""
        await self.get(account, devbox)

        async def look() -> Devbox | None:
            found = await self.get(account, devbox)
            return found if found.status in statuses else None

        found = await self._changes.until(devbox, min(seconds, MAX_HOLD), look)
        if found is None:
            wanted = ", ".join(sorted(statuses))
            raise HoldElapsed(f"{devbox} is not {wanted} as yet; wait again")
        return found

    async def update(
        self, account: str, devbox: str, body: Mapping[str, Any]
    ) -> Devbox:
        """Change the name and the metadata, where they are given."""
        changed: dict[str, object] = {}
        if body.get("name") is not None:
            changed["name"] = read_name(body["name"])
        if body.get("metadata") is not None:
            changed["metadata"] = read_metadata(body["metadata"])
        return await self.records.rename(account, devbox, changed)

    async def suspend(self, account: str, devbox: str) -> Devbox:
        """End the processes and keep the disk; the devbox while that goes on."""
        found = await self.get(account, devbox)
        found.require_running()
        moved = await self._suspender.begin(found)
        if moved is None:
            raise InvalidRequest(f"{devbox} is not running any more")
        return moved

    async def resume(self, account: str, devbox: str) -> Devbox:
        """Start a suspended devbox again on its disk; the devbox while that goes on."""
        found = await self.get(account, devbox)
        if found.status is not Status.SUSPENDED:
            raise _not_suspended(found)
        moved = await self.records.move(devbox, Status.PROVISIONING)
        if moved is None:
            raise _not_suspended(await self.get(account, devbox))
        self._tasks.start(self._launch(devbox, ()), f"resume {devbox}")
        return moved

    async def keep_alive(self, account: str, devbox: str) -> None:
        """Put off what is to happen when the devbox is idle."""
        found = await self.get(account, devbox)
        found.require_running()
        await self.records.touch(devbox)

    async def shutdown(
        self, account: str, devbox: str, *, force: bool = False
    ) -> Devbox:
        """Shut a devbox down for good; one that has ended stays as it is.

        Raises `Conflict` while its disk is copied, unless *force* is given.
        """
        found = await self.get(account, devbox)
        if found.status in TERMINAL:
            return found
        if not force and await self._disks.copying(devbox):
            raise Conflict(f"a snapshot of {devbox} is being made; wait, or force=true")
        return await self.end(devbox, ShutdownReason.API)

    async def end(self, devbox: str, reason: ShutdownReason) -> Devbox:
        """Shut a devbox down, for whatever reason."""
        moved = await self.records.move(devbox, Status.SHUTDOWN, shutdown=reason)
        if moved is not None:
            task = self._tasks.start(
                self._launcher.destroy(devbox), f"destroy {devbox}"
            )
            # Who asks what is left afterwards is to find nothing, if that is quick.
            await asyncio.wait([task], timeout=_DESTROY_SECONDS)
            return moved
        found = await self.records.find(devbox)
        assert found is not None  # noqa: S101 - records of devboxes are not deleted
        return found

    async def _launch(self, devbox: str, mounts: tuple[Mount, ...]) -> None:
        found = await self.records.find(devbox)
        assert found is not None  # noqa: S101 - as above
        running = await self._launcher.launch(found, mounts)
        if running is None or running.entrypoint is None:
            return
        if await self._launcher.entrypoint_ended(running):
            await self.end(devbox, ShutdownReason.ENTRYPOINT)


def _not_suspended(found: Devbox) -> InvalidRequest:
    return InvalidRequest(f"{found.id} is {found.status}, not suspended").coded(
        "devbox_not_suspended", status=found.status.value
    )
