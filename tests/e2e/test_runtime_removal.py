"""Nothing is left of a devbox: after its end, at once, or after its owner was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stockade.errors import Conflict, Unavailable
from stockade.runtime import overlay
from stockade.runtime.box import Box
from stockade.spec import Mount
from tests.e2e.runtime_boxes import TIMEOUT, Boxes, Running

pytestmark = pytest.mark.root


@pytest.fixture(params=["crun", "runc"])
def boxes(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    with Boxes(request.param) as made:
        yield made


def traces(boxes: Boxes, running: Running, base: int) -> list[object]:
    """What is left of a devbox on this machine."""
    name = running.request.spec.id
    mounts = boxes.do(Path("/proc/thread-self/mountinfo").read_text)
    maps = (path.parent.name for path in Path("/proc").glob("[0-9]*/uid_map"))
    return [
        *boxes.run_dir.glob(f"{name}*"),
        *boxes.run_dir.glob("ids/*"),
        *Path("/sys/fs/cgroup").rglob(f"*{name}*"),
        *Path("/run").glob(f"*/{name}"),
        *(line for line in mounts.splitlines() if name in line),
        *(pid for pid in maps if pid.isdecimal() and _base(pid) == base),
    ]


def _base(pid: str) -> int:
    try:
        fields = Path(f"/proc/{pid}/uid_map").read_text().split()
    except OSError:
        return -1
    return int(fields[1]) if len(fields) == 3 else -1


def base_of(running: Running) -> int:
    return int(
        json.loads((running.request.directory / "box.json").read_text())["id_base"]
    )


BUSY = "for i in 1 2 3; do (sleep 100 &); done; setsid sleep 100 & echo up; read line"


@pytest.mark.parametrize("end", ["by itself", "killed", "removed", "never started"])
def test_nothing_is_left(boxes: Boxes, tmp_path: Path, end: str) -> None:
    mounts = (Mount(tmp_path, "/mnt"),)
    running = boxes.create("bash", "-c", BUSY, mounts=mounts, disk=boxes.run_dir / "d")
    base = base_of(running)
    assert len(traces(boxes, running, base)) > 4
    if end != "never started":
        running.start()
        deadline = time.monotonic() + TIMEOUT
        while b"up" not in running.received["stdout"]:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    if end == "by itself":
        running.finish()
    elif end == "killed":
        running.box.signal(signal.SIGKILL)
        assert running.finish().status == 137
    else:
        running.remove()
    assert traces(boxes, running, base) == []
    assert not (boxes.run_dir / "d").exists()
    running.remove()


def test_what_is_written_does_not_reach_the_image(boxes: Boxes) -> None:
    script = (
        "cat /etc/marker 2>/dev/null; echo x > /etc/marker; rm /usr/bin/git; ls -A /"
    )
    first, second = boxes.sh(script), boxes.sh(script)
    assert first.stdout == second.stdout
    assert (boxes.image.layers[0] / "usr/bin/git").exists()
    assert not (boxes.image.layers[0] / "etc/marker").exists()


def test_boxes_at_the_same_time_are_apart(boxes: Boxes) -> None:
    script = "echo {0} > /tmp/mine; read line; cat /tmp/mine; ls /tmp; id -u"
    running = [boxes.start("bash", "-c", script.format(n)) for n in range(8)]
    bases = {base_of(one) for one in running}
    assert len(bases) == 8
    done = [one.finish() for one in running]
    assert [one.stdout for one in done] == [f"{n}\nmine\n0\n" for n in range(8)]


def test_boxes_can_be_made_by_many_threads() -> None:
    def several(runtime: str) -> list[str]:
        with Boxes(runtime) as boxes:
            return [boxes.run("echo", str(n)).stdout for n in range(5)]

    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(several, ["crun", "runc", "crun", "crun"]))
    assert outputs == [[f"{n}\n" for n in range(5)]] * 4


def test_a_failed_preparation_leaves_nothing(boxes: Boxes) -> None:
    running = Running(boxes, boxes.request("true", user="no-such-user"))
    with pytest.raises(Exception, match="no user"):
        boxes.do(running.box.prepare)
    boxes.do(running.box.remove)
    assert list(boxes.run_dir.iterdir()) == [boxes.run_dir / "ids"]
    assert list((boxes.run_dir / "ids").iterdir()) == []


def test_a_run_directory_that_is_closed_is_refused(boxes: Boxes) -> None:
    boxes.run_dir.chmod(0o700)
    running = Running(boxes, boxes.request("true"))
    with pytest.raises(Unavailable, match=f"cannot be reached below {boxes.run_dir}"):
        boxes.do(running.box.prepare)
    boxes.do(running.box.remove)
    boxes.run_dir.chmod(0o711)


def test_secrets_in_the_bundle_are_for_root(boxes: Boxes) -> None:
    running = boxes.create("true", env={"TOKEN": "secret"})
    directory = running.request.directory
    assert (directory / "config.json").stat().st_mode & 0o777 == 0o600
    disk = Path(json.loads((directory / "box.json").read_text())["disk"])
    assert disk.stat().st_mode & 0o777 == 0o700
    reader = ["setpriv", "--reuid", "1", "--clear-groups", "--regid", "1"]
    for place in (directory / "config.json", disk):
        done = subprocess.run([*reader, "ls", os.fspath(place) + "/"], check=False)
        assert done.returncode != 0


def test_a_box_of_the_same_name_is_left_alone(boxes: Boxes) -> None:
    first = boxes.start("sh", "-c", "read line; echo alive")
    second = Box(first.request)
    with pytest.raises(Conflict, match="already"):
        boxes.do(second.prepare)
    boxes.do(second.remove)
    first.write(b"\n")
    assert first.finish().stdout == "alive\n"


def test_a_mount_that_stays_stops_the_deletion(
    boxes: Boxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting through a mount would delete a directory of the host."""
    (tmp_path / "file").write_text("kept")
    running = boxes.create("true", mounts=(Mount(tmp_path, "/mnt"),))
    with monkeypatch.context() as broken:
        broken.setattr(overlay, "unmount_all", lambda directory: None)
        with pytest.raises(Unavailable, match="cannot be unmounted"):
            boxes.do(running.box.remove)
    assert (tmp_path / "file").read_text() == "kept"
    running.remove()
    assert (tmp_path / "file").read_text() == "kept"


def test_a_run_directory_behind_a_link_is_emptied_all_the_same(
    boxes: Boxes, tmp_path: Path
) -> None:
    """The kernel's table of mounts has real paths only."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").write_text("kept")
    link = boxes.run_dir.with_name(f"{boxes.run_dir.name}-link")
    link.symlink_to(boxes.run_dir)
    try:
        request = boxes.request("true", mounts=(Mount(shared, "/mnt"),))
        request = replace(request, directory=link / request.spec.id)
        running = Running(boxes, request)
        running.create()
        base = base_of(running)
        running.remove()
    finally:
        link.unlink()
    assert traces(boxes, running, base) == []
    assert (shared / "file").read_text() == "kept"


def test_a_strict_umask_changes_nothing(boxes: Boxes, tmp_path: Path) -> None:
    mounts = (Mount(tmp_path, "/mnt/new"),)
    before = os.umask(0o077)
    try:
        script = "stat -c %a / /mnt /srv/made /etc/hosts; ls /mnt/new && id -u"
        done = boxes.sh(script, user="user", workdir="/srv/made", mounts=mounts)
    finally:
        os.umask(before)
    assert done.stdout.split() == ["755", "755", "755", "644", "1000"]
