"""Images are made once, by one at a time, wholly or not at all."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stockade.errors import NotFound, Unavailable
from stockade.runtime import build, overlay, recipe, syscalls
from stockade.runtime.images import Image, ImageStore
from tests.e2e.runtime_archives import ROOT, archive, ensure, entry, leftovers
from tests.e2e.runtime_boxes import Boxes, default_image

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "data")


def test_a_changed_archive_is_another_image(store: ImageStore, tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    first = ensure(store, archive(path, *ROOT))
    second = ensure(store, archive(path, *ROOT, entry("usr/more", data=b"1")))
    assert first.digest != second.digest
    assert first.layers[0].is_dir()
    assert ensure(store, "root") == second


@pytest.mark.parametrize("reference", ["nope", "./nope.tar", "deadbeef" * 8, ""])
def test_an_unknown_image_says_what_there_is(store: ImageStore, reference: str) -> None:
    with pytest.raises(NotFound, match="there is no image"):
        ensure(store, reference)


def test_several_at_once_make_one_image(store: ImageStore, tmp_path: Path) -> None:
    path = archive(tmp_path / "root.tar", *ROOT)

    async def all_at_once() -> list[Image]:
        return await asyncio.gather(*(store.ensure(str(path)) for _ in range(5)))

    images = asyncio.run(all_at_once())
    assert len({image.digest for image in images}) == 1
    assert leftovers(tmp_path) == []


def test_what_an_interrupted_run_left_is_swept(
    store: ImageStore, tmp_path: Path
) -> None:
    path = archive(tmp_path / "root.tar", *ROOT)
    digest = ensure(ImageStore(tmp_path / "other"), path).digest
    stale = tmp_path / f"data/images/.new-{digest}-00000000"
    (stale / "rootfs/usr").mkdir(parents=True)
    ensure(store, path)
    assert not stale.exists()


def cancelled_after(
    store: ImageStore, reference: str, ready: Callable[[], bool]
) -> None:
    """Ask for an image and cancel as soon as *ready*."""

    async def ask() -> None:
        task = asyncio.ensure_future(store.ensure(reference, reported))
        while not ready():  # noqa: ASYNC110 - the condition is a file of another thread
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    def reported(fraction: float, text: str) -> None:
        assert 0 <= fraction <= 1
        assert text

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_cancelling_an_import_leaves_nothing(store: ImageStore, tmp_path: Path) -> None:
    many = (entry(f"usr/{n}", data=b"x" * 1000) for n in range(20_000))
    path = archive(tmp_path / "many.tar", *ROOT, *many)
    cancelled_after(store, str(path), lambda: bool(leftovers(tmp_path)))
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "data/images").glob("[!.]*")) == []


def test_cancelling_a_build_ends_it_and_leaves_nothing(
    store: ImageStore, tmp_path: Path
) -> None:
    def begun() -> bool:
        return any((tmp_path / "data/images").glob(".new-*/rootfs"))

    threads = threading.active_count()
    cancelled_after(store, "default", begun)
    assert leftovers(tmp_path) == []
    assert threading.active_count() == threads
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    running = subprocess.run(["ps", "-eo", "args="], capture_output=True, check=True)
    assert str(tmp_path).encode() not in running.stdout


def test_a_missing_tool_is_named(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="install the package mmdebstrap"):
        ensure(store, "default")
    assert leftovers(tmp_path) == []


def test_the_default_image_has_what_it_promises() -> None:
    image = default_image()
    assert image.digest == recipe.Recipe(recipe.suite()).digest
    tools = "bash curl git python3 ps ip dig sudo ssh apt-get"
    script = f"for tool in {tools}; do command -v $tool > /dev/null || echo $tool; done"
    with Boxes() as boxes:
        assert boxes.sh(script).stdout == ""
        assert boxes.sh("pip --version && python3 -m venv /tmp/v").status == 0
        done = boxes.sh(
            "id; grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; ls /dev/"
        )
    assert done.stdout.startswith("uid=0(root) gid=0(root) groups=0(root)\n")
    assert list((image.layers[0] / "dev").iterdir()) == []
    sudoers = image.layers[0] / "etc/sudoers.d/user"
    assert sudoers.stat().st_mode & 0o777 == 0o440
    assert not (image.layers[0] / "etc/apt/apt.conf.d/99mmdebstrap").exists()


def test_a_data_directory_where_nothing_can_run_is_refused(tmp_path: Path) -> None:
    def mount_and_check() -> None:
        overlay.enter_private_mounts()
        syscalls.mount("none", tmp_path, "tmpfs", syscalls.MS_NODEV)
        build.check_tools(tmp_path)

    with (
        ThreadPoolExecutor(1) as thread,
        pytest.raises(Unavailable, match="set data_dir to a directory on another"),
    ):
        thread.submit(mount_and_check).result()
