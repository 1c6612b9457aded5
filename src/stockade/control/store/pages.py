"""Pages of rows, newest first.

Ids sort by creation (`control.ids`), so an id is a place in the list, also when the row
it belonged to is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from stockade.control.ids import check_id

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of a list: at most *limit*, older than the id *after*."""

    limit: int = 20
    after: str | None = None
    with_total: bool = True


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, whether there is more, and how many there are in all."""

    items: tuple[T, ...]
    has_more: bool
    total: int | None


async def read_page(
    session: AsyncSession,
    query: Select[T],
    column: InstrumentedAttribute[str],
    prefix: str,
    page: PageQuery,
) -> Page[T]:
    """The rows of *query* that *page* asks for; *column* holds ids with *prefix*."""
    total = None
    if page.with_total:
        counted: Select[Any] = select(func.count()).select_from(query.subquery())
        total = int((await session.execute(counted)).scalar_one())
    if page.after is not None:
        query = query.where(column < check_id(prefix, page.after))
    query = query.order_by(column.desc()).limit(page.limit + 1)
    rows = tuple((await session.execute(query)).scalars())
    return Page(rows[: page.limit], len(rows) > page.limit, total)


def contains(column: InstrumentedAttribute[str], part: str) -> Any:
    """Whether *column* contains *part*, letter by letter: no wildcards."""
    return column.contains(part, autoescape=True)
