"""Pages of lists: `limit`, `starting_after`, `include_total_count`, newest first.

async def list_things(caller: …, paging: Paging) -> ThingListView:
    page = await services.things.list(caller.account, paging, …)
    return ThingListView(things=[…], **page_fields(page))
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Query
from pydantic import BaseModel

from stockade.control.store.pages import Page, PageQuery

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 5000


async def _paging(
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT)] = DEFAULT_LIMIT,
    starting_after: Annotated[str | None, Query()] = None,
    *,
    include_total_count: bool = True,
) -> PageQuery:
    return PageQuery(limit, starting_after, with_total=include_total_count)


#: The page that a request asks for.
Paging = Annotated[PageQuery, Depends(_paging)]


class PageView(BaseModel):
    """What every list says beside its items."""

    has_more: bool
    total_count: int | None = None


def page_fields(page: Page[Any]) -> dict[str, Any]:
    """The fields of `PageView` for a page."""
    return {"has_more": page.has_more, "total_count": page.total}
