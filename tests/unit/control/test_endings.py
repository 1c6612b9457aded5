"""Devboxes that end by themselves while the database does not answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from stockade.control import timers
from stockade.control.devbox_records import DevboxRecords
from stockade.control.states import Status
from stockade.hosting import EndCause
from tests.unit.control.devbox_world import open_world


def test_an_end_is_on_record_though_the_database_was_away(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "_EVERY_SECONDS", 0.05)
    move = DevboxRecords.move
    failures = 0

    async def away(
        records: DevboxRecords, devbox: str, after: Status, **how: Any
    ) -> Any:
        nonlocal failures
        if after is Status.FAILURE and failures < 2:
            failures += 1
            raise OperationalError("update", {}, ConnectionError("away"))
        return await move(records, devbox, after, **how)

    monkeypatch.setattr(DevboxRecords, "move", away)

    async def main() -> None:
        async with open_world(database_url, tmp_path) as world:
            boxes = [await world.create(), await world.create()]
            for box in boxes:
                await world.host.end(box.id, EndCause.OUT_OF_MEMORY)
            for box in boxes:
                await world.until(box.id, Status.FAILURE)
            assert failures == 2

    asyncio.run(main())
