"""Runs builds on a host agent of its own, one after the other, as a server would.

`python -m tests.e2e.build_driver DIRECTORY`, orders as JSON on standard input: one a line,
answered by one line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from stockade.agent.agent import HostAgent
from stockade.agent.builds import BuildOrder, Builds
from stockade.agent.launch import launch
from stockade.config import load_settings
from stockade.errors import StockadeError
from stockade.policy.model import NetworkPolicy
from stockade.runtime import overlay
from stockade.runtime.images import ImageStore
from stockade.spec import DevboxId, PolicyPush


class Driver:
    """Builds in *directory*, from the images of the machine's own store."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        settings = load_settings(os.environ)
        launched = launch(settings, lanes=2, workers=1)
        self._agent = HostAgent(settings, launched, lambda _: None, lambda _: None)
        self._images = ImageStore(directory)
        self._builds = Builds(self._agent, self._images, directory)
        self._count = 0

    async def serve(self) -> None:
        """Answer orders until the input ends."""
        async with self._agent:
            while line := await asyncio.to_thread(sys.stdin.readline):
                try:
                    answer = await self._build(**json.loads(line))
                except StockadeError as error:
                    answer = {"error": str(error), "kind": type(error).__name__}
                print(json.dumps(answer), flush=True)

    async def _build(
        self,
        dockerfile: str,
        context: str,
        policy: dict[str, Any],
        bases: dict[str, str],
        cache: str = "cache",
        secrets: dict[str, str] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        self._count += 1
        place = self._directory / f"build-{self._count}"
        place.mkdir()
        order = BuildOrder(
            id=DevboxId(f"bpt_test{os.getpid()}x{self._count}"),
            dockerfile=dockerfile,
            context=Path(context),
            directory=place,
            cache=self._directory / cache,
            bases={name: await self._images.ensure(of) for name, of in bases.items()},
            secrets={name: text.encode() for name, text in (secrets or {}).items()},
            **fields,
        )
        push = PolicyPush("npol_test", 1, NetworkPolicy.from_mapping(policy))
        log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        started = time.monotonic()
        try:
            built = await self._builds.build(order, push, log)
        finally:
            os.close(log)
        return {
            "status": built.exit and built.exit.status,
            "log": (place / "log").read_text(),
            "seconds": time.monotonic() - started,
            "left": sorted(path.name for path in place.rglob("*") if path.is_file()),
            "digest": built.image and built.image.digest,
            "layers": built.image and list(map(str, built.image.layers)),
            "env": built.image and dict(built.image.env),
        }


if __name__ == "__main__":
    overlay.enter_private_mounts()
    asyncio.run(Driver(Path(sys.argv[1])).serve())
