"""A process that imports images, checks what it finds, and collects: for other processes.

`python -m tests.e2e.image_churn import|collect DATA LAYOUT SECONDS`
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from pathlib import Path

from stockade.errors import Conflict, NotFound
from stockade.runtime.collecting import Collector
from stockade.runtime.images import Image, ImageStore

NAMES = ("one", "two", "three")


def check(image: Image, name: str) -> None:
    """All layers of an image that is held are there, with all that is in them."""
    for number, layer in enumerate(image.layers):
        told = (layer / "srv/layer").read_text()
        assert told == ("base" if number == 0 else name), (image, told)
        for part in range(40):
            assert (layer / f"srv/part-{number}-{part}").read_bytes() == b"x" * 5000


async def bring(data: Path, layout: Path, until: float) -> int:
    store, count = ImageStore(data), 0
    while time.monotonic() < until:
        name = secrets.choice(NAMES)
        image = store.find(name)
        if image is None:
            image = await store.import_archive(layout, pick=name)
        check(image, name)
        disk = data / "disks" / secrets.token_hex(4)
        disk.mkdir(parents=True)
        assert image.lease is not None
        image.lease.keep(disk)
        del image
        await asyncio.sleep(secrets.randbelow(20) / 1000)
        # Without a lease, the disk alone keeps it.
        again = store.find(name)
        assert again is not None
        check(again, name)
        disk.rmdir()
        count += 1
    return count


def collect(data: Path, until: float) -> int:
    collector, count = Collector(ImageStore(data)), 0
    while time.monotonic() < until:
        count += len(collector.prune(every=True).images)
        try:
            count += len(collector.remove(secrets.choice(NAMES)).images)
        except (Conflict, NotFound):
            continue
    return count


def main() -> None:
    what, data, layout, seconds = sys.argv[1:]
    until = time.monotonic() + float(seconds)
    if what == "import":
        print(asyncio.run(bring(Path(data), Path(layout), until)))
    else:
        print(collect(Path(data), until))


if __name__ == "__main__":
    main()
