"""What nothing uses is taken away, and nothing else, whoever is killed in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stockade.errors import Conflict, NotFound
from stockade.runtime import manifest
from stockade.runtime.collecting import Collector
from stockade.runtime.images import ImageStore
from stockade.runtime.recipe import Recipe, suite
from tests.e2e import image_churn
from tests.e2e.image_archives import Layout
from tests.e2e.image_store import bring
from tests.e2e.runtime_archives import ROOT, archive, ensure, entry

pytestmark = pytest.mark.root

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "data")


def stored(store: ImageStore) -> list[str]:
    return [image.digest for image in Collector(store).images()]


def layers(store: ImageStore) -> set[str]:
    return {path.name for path in (store.directory / "layers").glob("[!.]*")}


def test_an_image_that_lost_its_name_is_collected(
    store: ImageStore, tmp_path: Path
) -> None:
    path = tmp_path / "root.tar"
    first = ensure(store, archive(path, *ROOT)).digest
    second = ensure(store, archive(path, *ROOT, entry("usr/more"))).digest
    assert set(stored(store)) == {first, second}
    freed = Collector(store).prune()
    assert freed.images == (first,)
    assert freed.size > 0
    assert stored(store) == [second]
    assert store.find("root") is not None
    assert len(list(store.directory.glob(".file-*"))) == 1
    assert Collector(store).prune(every=True).images == (second,)
    assert stored(store) == []
    assert store.find("root") is None
    assert store.find(str(path)) is None, "it is imported again"
    assert ensure(store, path).digest == second


def test_the_default_image_is_never_pruned(store: ImageStore) -> None:
    place = store.directory / Recipe(suite()).digest
    (place / "rootfs").mkdir(parents=True)
    manifest.write(place, place.name, "default", size=1)
    assert Collector(store).prune(every=True).images == ()
    assert Collector(store).remove("default").images == (place.name,)


def test_an_image_in_use_stays(store: ImageStore, tmp_path: Path) -> None:
    image = ensure(store, archive(tmp_path / "root.tar", *ROOT))
    collector = Collector(store)
    assert collector.prune(every=True).images == ()
    with pytest.raises(Conflict, match="used by what runs now"):
        collector.remove("root")
    assert [found.used_by for found in collector.images()] == [("what runs now",)]
    assert image.lease is not None
    disk = tmp_path / "disk"
    disk.mkdir()
    image.lease.keep(disk)
    image.lease.close()
    assert collector.prune(every=True).images == ()
    with pytest.raises(Conflict, match=str(disk)):
        collector.remove(image.digest[:12])
    disk.rmdir()
    assert collector.remove("root").images == (image.digest,)
    with pytest.raises(NotFound):
        collector.remove("root")


@pytest.mark.parametrize("file", ["devboxes/dbx_1/image", "snapshots/snp_1.image"])
def test_what_a_server_keeps_keeps_its_image(
    store: ImageStore, tmp_path: Path, file: str
) -> None:
    digest = ensure(store, archive(tmp_path / "root.tar", *ROOT)).digest
    mark = tmp_path / "data" / file
    mark.parent.mkdir(parents=True)
    mark.write_text(digest)
    assert Collector(store).prune(every=True).images == ()
    with pytest.raises(Conflict, match=r"dbx_1|snp_1"):
        Collector(store).remove("root")
    mark.unlink()
    assert Collector(store).prune(every=True).images == (digest,)


def test_disks_that_are_gone_are_forgotten(store: ImageStore, tmp_path: Path) -> None:
    image = ensure(store, archive(tmp_path / "root.tar", *ROOT))
    assert image.lease is not None
    assert image.place is not None
    living = tmp_path / "living"
    living.mkdir()
    image.lease.keep(living)
    gone = "".join(f'"{tmp_path}/{"x" * 60}{number}"\n' for number in range(1200))
    with (image.place / "uses").open("a") as file:
        file.write(gone)
    image.lease.keep(living)
    assert (image.place / "uses").stat().st_size < 1000
    image.lease.close()
    assert [found.used_by for found in Collector(store).images()] == [(str(living),)]


def test_a_killed_process_uses_nothing(store: ImageStore, tmp_path: Path) -> None:
    ensure(store, archive(tmp_path / "root.tar", *ROOT))
    script = (
        "import sys, time; from pathlib import Path\n"
        "from stockade.runtime.images import ImageStore\n"
        "image = ImageStore(Path(sys.argv[1])).find('root')\n"
        "print('held', flush=True); time.sleep(60)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "data")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert Collector(store).prune(every=True).images == ()
        process.kill()
    assert len(Collector(store).prune(every=True).images) == 1


def base(number: int = 0) -> list:
    parts = [entry(f"srv/part-{number}-{n}", data=b"x" * 5000) for n in range(40)]
    return [*ROOT, entry("srv/layer", data=b"base"), *parts]


def step(name: str) -> list:
    parts = [entry(f"srv/part-1-{n}", data=b"x" * 5000) for n in range(40)]
    return [entry("srv/layer", data=name.encode()), *parts]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    made = Layout(tmp_path / "layout")
    for name in image_churn.NAMES:
        made.add([base(), step(name)], name=name)
    return made.top


def test_a_layer_stays_as_long_as_an_image_has_it(
    store: ImageStore, layout: Path
) -> None:
    for name in ("one", "two"):
        bring(store, layout, pick=name)
    assert len(layers(store)) == 3
    collector = Collector(store)
    assert collector.remove("one").layers == 1
    assert len(layers(store)) == 2
    two = store.find("two")
    assert two is not None
    image_churn.check(two, "two")
    del two
    assert collector.remove("two").layers == 2
    assert layers(store) == set()


def test_nothing_in_use_is_lost_under_imports_collections_and_kills(
    store: ImageStore, layout: Path, tmp_path: Path
) -> None:
    def start(what: str, seconds: float) -> subprocess.Popen:
        argv = [sys.executable, "-m", "tests.e2e.image_churn", what]
        argv += [str(tmp_path / "data"), str(layout), str(seconds)]
        return subprocess.Popen(
            argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    seconds = 6.0
    lasting = [start("import", seconds), start("import", seconds)]
    lasting.append(start("collect", seconds))
    killed = 0
    until = time.monotonic() + seconds - 1
    while time.monotonic() < until:
        for what in ("collect", "import"):
            with start(what, 60) as victim:
                # Some of it is the start of Python; the rest is anywhere.
                time.sleep(0.4 + 0.1 * (killed % 3))
                victim.send_signal(signal.SIGKILL)
            killed += 1
    results = [process.communicate(timeout=60) for process in lasting]
    assert [process.returncode for process in lasting] == [0, 0, 0], results
    imported, also, collected = (int(out) for out, _ in results)
    assert imported + also > 5
    assert collected > 1
    assert killed >= 4
    # What the killed ones left is swept, and the store is whole.
    for disk in (tmp_path / "data/disks").iterdir():
        disk.rmdir()
    Collector(store).prune()
    for name in store.names():
        image = store.find(name)
        assert image is not None
        image_churn.check(image, name)
        del image
    Collector(store).prune(every=True)
    assert stored(store) == []
    assert layers(store) == set()
    rest = [path.name for path in store.directory.rglob("*") if path.is_file()]
    assert [name for name in rest if not name.startswith((".lock-", ".file-"))] == []
