"""One request, one resource, however often a client sends it.

A client that got no answer sends its request again with the same key. The key is written
in the transaction that makes the resource, so there is never one without the other; a
duplicate that arrives meanwhile waits for the first. What is remembered is the id of the
resource: a duplicate is answered with the resource as it is now. A request that failed
is not remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from stockade.control.clock import Clock
from stockade.control.store.base import Store
from stockade.control.store.idempotency import RequestRow
from stockade.errors import Conflict

#: How long a key is remembered.
KEPT_MS = 24 * 3600 * 1000

#: Notes, in the transaction that makes a resource, which one it is.
Note = Callable[[AsyncSession, str], Awaitable[None]]


async def no_note(_session: AsyncSession, _resource: str) -> None:
    """The note of a request that is not to be remembered."""


async def forget_resource(session: AsyncSession, resource: str) -> None:
    """Forget the requests that made *resource*: call this where it is deleted."""
    await session.execute(delete(RequestRow).where(RequestRow.resource_id == resource))


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes two requests the same. *body* is a digest of what they ask for."""

    account: str
    route: str
    key: str
    body: str


class Idempotency:
    """Carries out each request once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._under_way: dict[tuple[str, str, str], asyncio.Future[str]] = {}

    async def once(
        self, request: RequestKey, make: Callable[[Note], Awaitable[str]]
    ) -> str:
        """The id of what *make* made, for this request or for an earlier one like it.

        *make* is given a `Note`, to call with its session and the new id. Raises
        `Conflict` if the key was used for something else.
        """
        place = (request.account, request.route, request.key)
        while (first := self._under_way.get(place)) is not None:
            await asyncio.wait([first])
            if not first.cancelled() and (error := first.exception()) is not None:
                raise error
        under_way: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._under_way[place] = under_way
        try:
            resource = await self._carry_out(request, make)
        except asyncio.CancelledError:
            under_way.cancel()
            raise
        except Exception as error:
            under_way.set_exception(error)
            under_way.exception()  # Whether anybody waits for it or not.
            raise
        else:
            under_way.set_result(resource)
            return resource
        finally:
            del self._under_way[place]

    async def _carry_out(
        self, request: RequestKey, make: Callable[[Note], Awaitable[str]]
    ) -> str:
        place = (request.account, request.route, request.key)
        async with self._store.read() as session:
            row = await session.get(RequestRow, place)
        if row is not None and row.create_time_ms > self._clock() - KEPT_MS:
            if row.body != request.body:
                raise Conflict(
                    f"the key {request.key!r} was used for a request that asked for "
                    "something else"
                ).coded("idempotency_key_reused", id=row.resource_id)
            return row.resource_id

        async def note(session: AsyncSession, resource: str) -> None:
            await self._write(session, request, resource)

        return await make(note)

    async def _write(
        self, session: AsyncSession, request: RequestKey, resource: str
    ) -> None:
        now = self._clock()
        await session.execute(
            delete(RequestRow).where(RequestRow.create_time_ms <= now - KEPT_MS)
        )
        session.add(
            RequestRow(
                account_id=request.account,
                route=request.route,
                key=request.key,
                body=request.body,
                resource_id=resource,
                create_time_ms=now,
            )
        )
