"""Transactions: those that write take turns, and an error undoes what was done."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from stockade.control.store.base import Store
from stockade.errors import InvalidRequest


def test_writers_take_turns_and_readers_do_not_wait(tmp_path: Path) -> None:
    async def main() -> None:
        store = Store(f"sqlite:///{tmp_path}/state.db")
        async with store.begin() as session:
            await session.execute(text("create table t (n int)"))

        async def count_on() -> None:
            """Reads and then writes: two at a time would write the same number."""
            async with store.begin() as session:
                found = (await session.execute(text("select count(*) from t"))).scalar()
                await asyncio.sleep(0)
                await session.execute(text("insert into t values (:n)"), {"n": found})

        async def read_meanwhile() -> None:
            async with store.begin(), store.read() as session:
                await session.execute(text("select * from t"))

        await asyncio.gather(*(count_on() for _ in range(20)), read_meanwhile())
        async with store.read() as session:
            found = await session.execute(text("select n from t order by n"))
            assert list(found.scalars()) == list(range(20))
        await store.close()

    asyncio.run(main())


def test_an_error_undoes_the_transaction(tmp_path: Path) -> None:
    async def main() -> None:
        store = Store(f"sqlite:///{tmp_path}/state.db")
        async with store.begin() as session:
            await session.execute(text("create table t (n int)"))

        async def fail() -> None:
            async with store.begin() as session:
                await session.execute(text("insert into t values (1)"))
                raise KeyError

        with pytest.raises(KeyError):
            await fail()
        async with store.read() as session:
            found = await session.execute(text("select count(*) from t"))
            assert found.scalar() == 0
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://x/y", "sqlite"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"database|URL"):
        Store(url)
