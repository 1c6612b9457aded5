"""Runs a test's scene against the application, on each database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.api.in_process import Api, open_api

Scene = Callable[[Api], Awaitable[None]]


@pytest.fixture
def play(database_url: str, tmp_path: Path) -> Callable[[Scene], None]:
    """Run a scene."""

    def run(scene: Scene) -> None:
        async def main() -> None:
            async with open_api(database_url, tmp_path) as api:
                await scene(api)

        asyncio.run(main())

    return run
