"""Images that were made to reach the host: nothing outside the box directory is touched.

Each image is a copy of a small root with one malicious change. The witness is a directory
of the host with a file in it, which every link points at.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade.errors import InvalidRequest, StockadeError
from stockade.runtime.images import Image
from stockade.spec import Mount
from tests.e2e.runtime_boxes import Boxes

pytestmark = pytest.mark.root

PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"


def libraries(program: str) -> list[Path]:
    """The files that *program* needs to start."""
    listed = subprocess.run(
        ["ldd", program], capture_output=True, text=True, check=True
    )
    words = [word for line in listed.stdout.splitlines() for word in line.split()]
    return [Path(word) for word in words if word.startswith("/")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system with a shell and nothing else to speak of."""
    top = tmp_path / "image" / "rootfs"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/user"):
        (top / name).mkdir(parents=True)
    shell = shutil.which("dash") or shutil.which("sh")
    assert shell is not None
    real = Path(shell).resolve()
    for library in libraries(str(real)):
        place = top / str(library).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library.resolve(), place)
    shutil.copy(real, top / "bin/sh")
    (top / "etc/passwd").write_text(PASSWD)
    (top / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    return top


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    place = tmp_path / "victim"
    place.mkdir()
    (place / "file").write_text("untouched")
    return place


@pytest.fixture(params=["crun", "runc"])
def boxes(root: Path, victim: Path, request: pytest.FixtureRequest) -> Iterator[Boxes]:
    before = state(victim)
    with Boxes(request.param, Image("hostile", (root,))) as made:
        yield made
    assert state(victim) == before


def state(place: Path) -> list[tuple[str, str, int, int]]:
    return [
        (path.name, path.read_text(), path.stat().st_uid, path.stat().st_mode)
        for path in sorted(place.iterdir())
    ]


def replace(path: Path, target: Path | str) -> None:
    """Put a link to *target* in place of whatever is at *path*."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def test_the_control_image_runs(boxes: Boxes) -> None:
    assert boxes.run("sh", "-c", "echo fine").stdout == "fine\n"


@pytest.mark.parametrize("name", ["resolv.conf", "hosts", "hostname"])
@pytest.mark.parametrize("how", ["absolute", "climbing", "descriptor"])
def test_a_link_in_place_of_our_files(
    boxes: Boxes, root: Path, victim: Path, name: str, how: str
) -> None:
    climb = "../" * 30 + str(victim / "file").lstrip("/")
    targets: dict[str, Path | str] = {
        "absolute": victim / "file",
        "climbing": climb,
        "descriptor": "/proc/self/fd/1",
    }
    replace(root / "etc" / name, targets[how])
    script = f"test -L /etc/{name} || echo file; read x < /etc/{name}; echo $x"
    done = boxes.run("sh", "-c", script)
    assert done.stdout.startswith("file\n")
    assert len(done.stdout) > len("file\n\n")
    assert (root / "etc" / name).is_symlink(), "the image is as it was"


@pytest.mark.parametrize("target", ["absolute", "climbing"])
def test_etc_is_a_link_to_the_host(
    boxes: Boxes, root: Path, victim: Path, target: str
) -> None:
    climb = "../" * 30 + str(victim).lstrip("/")
    replace(root / "etc", victim if target == "absolute" else climb)
    with pytest.raises(InvalidRequest):
        boxes.run("sh", "-c", "echo ran")


def test_etc_is_a_link_within_the_image(boxes: Boxes, root: Path) -> None:
    (root / "etc").rename(root / "config")
    (root / "etc").symlink_to("/config")
    done = boxes.run("sh", "-c", "read a b < /etc/resolv.conf; echo $a; cd /config")
    assert (done.stdout, done.status) == ("nameserver\n", 0)


@pytest.mark.parametrize("kind", ["link", "fifo", "device", "directory", "huge"])
def test_a_user_list_that_is_not_one(
    boxes: Boxes, root: Path, victim: Path, kind: str
) -> None:
    path = root / "etc/passwd"
    path.unlink()
    if kind == "link":
        (victim / "passwd").write_text("evil:x:0:0::/:/bin/sh\n")
        path.symlink_to(victim / "passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "directory":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    try:
        with pytest.raises(InvalidRequest):
            boxes.run("sh", "-c", "echo ran", user="evil")
    finally:
        (victim / "passwd").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "line",
    [
        "user:x:0x3e8:1000::/home/user:/bin/sh",
        "user:x:99999999999999999999:1000::/home/user:/bin/sh",
        "user:x:-1:1000::/home/user:/bin/sh",
        "user:x:\u0661:1000::/home/user:/bin/sh",
        "user:x:1000",
    ],
)
def test_a_user_with_an_impossible_number(boxes: Boxes, root: Path, line: str) -> None:
    (root / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{line}\n")
    with pytest.raises(InvalidRequest, match="has no user 'user'"):
        boxes.run("sh", "-c", "echo ran", user="user")


def test_a_home_that_is_a_link_to_the_host(
    boxes: Boxes, root: Path, victim: Path
) -> None:
    replace(root / "home/user", victim)
    with pytest.raises(InvalidRequest):
        boxes.run("sh", "-c", "echo ran > here", user="user")


@pytest.mark.parametrize("number", [3, 5, 7, 8, 9])
def test_a_working_directory_that_leaks_a_descriptor(
    boxes: Boxes, root: Path, number: int
) -> None:
    (root / f"proc/self/fd/{number}").mkdir(parents=True)
    replace(root / "home/user", f"/proc/self/fd/{number}")
    for workdir in (None, "/home/user", f"/proc/self/fd/{number}"):
        with pytest.raises(InvalidRequest, match="cannot be the working directory"):
            boxes.run("sh", "-c", "pwd", user="user", workdir=workdir)


@pytest.mark.parametrize("place", [".stockade", ".stockade/init", "proc", "sys", "dev"])
def test_the_runtimes_own_places_are_links(
    boxes: Boxes, root: Path, victim: Path, place: str
) -> None:
    path = root / place
    path.parent.mkdir(exist_ok=True)
    replace(path, victim)
    try:
        done = boxes.run("sh", "-c", "echo ran")
    except StockadeError:
        return  # refused is as good as harmless
    assert done.stdout in ("ran\n", "")


def test_a_mount_target_that_is_a_link(
    boxes: Boxes, root: Path, victim: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (root / "mnt").symlink_to(victim)
    mounts = (Mount(shared, "/mnt/below"),)
    try:
        done = boxes.run("sh", "-c", "echo ran > /mnt/below/x", mounts=mounts)
    except StockadeError:
        return
    assert list(victim.iterdir()) == [victim / "file"]
    assert done.status in (0, 1, 2)


def test_a_certificate_bundle_that_is_a_link(
    boxes: Boxes, root: Path, victim: Path
) -> None:
    (root / "etc/ssl/certs").mkdir(parents=True)
    (root / "etc/ssl/certs/ca-certificates.crt").symlink_to(victim / "file")
    (root / "usr/local/share").mkdir(parents=True)
    (root / "usr/local/share/ca-certificates").symlink_to(victim)
    try:
        boxes.run("sh", "-c", "echo ran")
    except InvalidRequest:
        return
    assert list(victim.iterdir()) == [victim / "file"]


def test_a_disk_device_in_the_image_cannot_be_read(boxes: Boxes, root: Path) -> None:
    os.mknod(root / "disk", stat.S_IFBLK | 0o666, Path("/").stat().st_dev)
    os.mknod(root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (root / "disk").chmod(0o666)
    done = boxes.run("sh", "-c", "read x < /disk; read x < /zero; echo end")
    assert done.stdout == "end\n"
    assert done.stderr.count("Permission denied") == 2


def test_a_program_with_privileges_of_the_machine(boxes: Boxes, root: Path) -> None:
    """A set-user-id file of root in the image is one of root inside, no more."""
    shutil.copy(root / "bin/sh", root / "bin/suid")
    (root / "bin/suid").chmod(0o4755)
    script = "read x < /proc/self/uid_map; echo $x"
    done = boxes.run("suid", "-c", script, user="user", allow_sudo=True)
    assert done.stdout.split()[0] == "0"
    assert int(done.stdout.split()[1]) > 1 << 28
