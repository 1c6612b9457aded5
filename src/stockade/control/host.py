"""The calls by which the control plane drives a host.

Every call is idempotent: asking again for what is done changes nothing. All raise
`StockadeError`s: `NotFound` for a devbox that the host does not have, `Conflict` for one
that is not in a state for it, `Unavailable` when the host lacks something or is full,
`EnforcementError` when a policy cannot be proven to be in force (nothing runs then).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from stockade.errors import StockadeError
from stockade.hosting import (
    DevboxEnded,
    DevboxPlan,
    Execution,
    ExecutionId,
    ExecutionPlan,
    PolicyInForce,
    SnapshotId,
    Stream,
)
from stockade.spec import DevboxId, PolicyPush


class Host(Protocol):
    """A machine that runs devboxes behind one gateway."""

    async def start(self, plan: DevboxPlan, push: PolicyPush) -> PolicyInForce:
        """Start a devbox, or start a suspended one again on its disk.

        Returns when the policy is proven to be in force and commands can be executed.
        """

    async def stop(self, devbox: DevboxId) -> None:
        """End all processes of a devbox and keep its disk."""

    async def destroy(self, devbox: DevboxId) -> None:
        """End a devbox and delete its disk and outputs. It may be gone already."""

    async def running(self) -> frozenset[DevboxId]:
        """Which devboxes run."""

    async def disks(self) -> frozenset[DevboxId]:
        """Which devboxes have a disk here: those that run, and those that were stopped."""

    def ended(self) -> AsyncIterator[DevboxEnded]:
        """Tell of each devbox that ends by itself, from now on."""

    async def update_policy(
        self, devboxes: Sequence[DevboxId], push: PolicyPush
    ) -> Mapping[DevboxId, PolicyInForce | StockadeError]:
        """Put a generation in force for many devboxes at once; what came of each."""

    async def execute(self, devbox: DevboxId, plan: ExecutionPlan) -> None:
        """Start a command. One with the same id is not started twice."""

    async def execution(self, devbox: DevboxId, execution: ExecutionId) -> Execution:
        """How far an execution is. Known until its devbox is destroyed."""

    async def wait(
        self, devbox: DevboxId, execution: ExecutionId, seconds: float
    ) -> Execution:
        """Wait at most *seconds* for an execution to end with its output complete."""

    async def read_output(
        self,
        devbox: DevboxId,
        execution: ExecutionId,
        stream: Stream,
        offset: int,
        limit: int,
    ) -> bytes:
        """At most *limit* bytes of an output from *offset* on; empty: no more as yet."""

    def follow_output(
        self, devbox: DevboxId, execution: ExecutionId, stream: Stream, offset: int
    ) -> AsyncIterator[bytes]:
        """Yield an output from *offset* on as it is written, to its end."""

    async def send_input(
        self, devbox: DevboxId, execution: ExecutionId, data: bytes | None
    ) -> None:
        """Write to the standard input of an execution; None is the end of file."""

    async def signal(
        self, devbox: DevboxId, execution: ExecutionId, number: int, *, group: bool
    ) -> None:
        """Send a signal to an execution, or to its whole process group."""

    def read_file(
        self, devbox: DevboxId, path: str, account: str
    ) -> AsyncIterator[bytes]:
        """Yield a file's content as the user *account* may read it.

        *path* is absolute, or relative to the home; `~/` is expanded. Raises `NotFound`
        when there is none, `InvalidRequest` for a directory or what it may not read.
        """

    async def write_file(
        self, devbox: DevboxId, path: str, account: str, content: AsyncIterator[bytes]
    ) -> int:
        """Write a file as the user *account*, with its parents; the size written."""

    async def snapshot(self, devbox: DevboxId, snapshot: SnapshotId) -> int:
        """Copy the disk of a devbox, running or stopped, into a snapshot; its bytes."""

    async def delete_snapshot(self, snapshot: SnapshotId) -> None:
        """Delete a snapshot. Devboxes that were started from it are not affected."""

    async def snapshots(self) -> frozenset[SnapshotId]:
        """Which snapshots are complete."""
