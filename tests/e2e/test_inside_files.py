"""Files of a devbox, read and written as its user may."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator

import pytest

from stockade.agent import boxfiles, helper
from stockade.errors import Conflict, InvalidRequest, NotFound, Unavailable
from stockade.hosting import BoxAccount
from tests.e2e.inside_boxes import ROOT, USER, Served, World, world_fixture

pytestmark = pytest.mark.root
world = world_fixture

MIB = 1 << 20


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def read(box: Served, path: str, account: BoxAccount = USER) -> bytes:
    source = boxfiles.read_file(box.inside, path, account)
    return b"".join([data async for data in source])


async def write(
    box: Served, path: str, *data: bytes, account: BoxAccount = USER
) -> int:
    return await boxfiles.write_file(box.inside, path, account, pieces(*data))


@pytest.mark.parametrize("size", [0, 1, 65_537])
def test_what_is_written_is_read(world: World, size: int) -> None:
    async def body(box: Served) -> None:
        data = os.urandom(size)
        assert await write(box, "file", data) == size
        assert await read(box, "~/file") == data
        assert await read(box, "/home/user/file") == data
        assert await box.shell("stat -c '%U %a' file") == "user 644\n"

    world.go(body)


def test_a_large_file_goes_through_in_pieces(world: World) -> None:
    async def body(box: Served) -> None:
        piece = os.urandom(MIB)
        assert await write(box, "/tmp/large", *[piece] * 100) == 100 * MIB
        found, longest = hashlib.sha256(), 0
        async for data in boxfiles.read_file(box.inside, "/tmp/large", USER):
            found.update(data)
            longest = max(longest, len(data))
        assert found.hexdigest() == hashlib.sha256(piece * 100).hexdigest()
        assert longest <= MIB

    world.go(body)


@pytest.mark.parametrize(
    "path",
    [
        "-rf",
        "~",
        "~user",
        " ",
        "é/ü/\U0001f600",
        "a\nb/\nc\n",
        "$(touch /tmp/bad)/`x`/'\"\\",
        "*/?[a]",
        "~/x/../y",
        "new/" * 100 + "deep",
        "x" * 255,
        "/tmp//twice///x",
        "keep",
    ],
)
def test_names_are_taken_as_they_are(world: World, path: str) -> None:
    async def body(box: Served) -> None:
        await box.shell("mkdir x")
        if path == "~":
            with pytest.raises(InvalidRequest, match="is a directory"):
                await write(box, path, b"data")
            return
        await write(box, path, b"data", b"", b"more")
        assert await read(box, path) == b"datamore"
        rest = path.removeprefix("~/") if path.startswith("~/") else path
        found = await box.run("cat", "--", rest)
        assert found == (0, "datamore", "")
        left = "find / -xdev -name '.stockade-*' 2>/dev/null; ls /tmp/bad 2>&1 | wc -l"
        assert await box.shell(left) == "1\n"

    world.go(body)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("nothing", NotFound, "there is no file nothing"),
        ("/etc/passwd/x", NotFound, "there is no file"),
        ("dangling", NotFound, "there is no file"),
        ("/etc", InvalidRequest, "is a directory"),
        ("/etc/", InvalidRequest, "is a directory"),
        ("/etc/shadow", InvalidRequest, "permission denied"),
        ("/root/x", InvalidRequest, "permission denied"),
        ("fifo", InvalidRequest, "not a regular file"),
        ("/dev/zero", InvalidRequest, "not a regular file"),
        ("/dev/stdin", InvalidRequest, "not a regular file"),
        ("", InvalidRequest, "a path has"),
        ("a\0b", InvalidRequest, "a path has"),
        ("\ud800", InvalidRequest, "not UTF-8"),
        ("x" * 4096, InvalidRequest, "a path has"),
        ("x" * 300, NotFound, "there is no file"),
    ],
)
def test_what_cannot_be_read(
    world: World, path: str, error: type[Exception], message: str
) -> None:
    async def body(box: Served) -> None:
        await box.shell("mkfifo fifo; ln -s nothing dangling")
        with pytest.raises(error, match=message):
            await read(box, path)

    world.go(body)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc", "is a directory"),
        ("new/", "is a directory"),
        ("fifo", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("/etc/passwd", "permission denied"),
        ("/etc/new", "Permission denied"),
        ("/etc/new/new", "Permission denied"),
        ("/etc/passwd/new", "File exists"),
        ("/proc/new", "/proc/new: "),
        ("x" * 300, "File name too long"),
        ("/dev/full", "not a regular file"),
    ],
)
def test_what_cannot_be_written(world: World, path: str, message: str) -> None:
    async def body(box: Served) -> None:
        await box.shell("mkfifo fifo")
        with pytest.raises(InvalidRequest, match=message):
            await write(box, path, bytes(3 * MIB))

    world.go(body)


def test_links_lead_to_files_of_the_devbox(world: World) -> None:
    async def body(box: Served) -> None:
        await box.shell("echo inside > /etc/marker; chmod 600 /etc/marker", user=ROOT)
        await box.shell("ln -s /etc/marker link; ln -s /root up")
        assert await read(box, "/home/user/link", ROOT) == b"inside\n"
        with pytest.raises(InvalidRequest, match="permission denied"):
            await read(box, "link")
        await write(box, "~/../home/user/up/made", b"x", account=ROOT)
        assert await box.shell("cat /root/made", user=ROOT) == "x"

    world.go(body)


def test_a_file_that_is_there_keeps_what_it_is(world: World) -> None:
    async def body(box: Served) -> None:
        await box.shell(
            "echo long old content > file; chmod 750 file; ln file hard; ln -s file soft"
        )
        before = await box.shell("stat -c '%i %a %U' file")
        await write(box, "soft", b"new")
        assert await box.shell("stat -c '%i %a %U' file") == before
        assert await box.shell("cat hard; readlink soft") == "newfile\n"
        # Also one in a directory that is not the user's, and one of another user.
        await box.shell("echo old > /etc/open; chmod 666 /etc/open", user=ROOT)
        await write(box, "/etc/open", b"new")
        assert await box.shell("cat /etc/open; stat -c %U /etc/open") == "newroot\n"
        await write(box, "file", b"root's", account=ROOT)
        assert await box.shell("stat -c '%i %a %U' file") == before
        assert await box.shell("ls -A /tmp; ls -A | grep stockade || true") == ""

    world.go(body)


def test_a_link_to_nothing_is_written_through(world: World) -> None:
    async def body(box: Served) -> None:
        await box.shell("ln -s target link")
        await write(box, "link", b"new")
        assert await box.shell("cat target; readlink link") == "newtarget\n"

    world.go(body)


@pytest.mark.parametrize("old", [None, b"old"])
def test_nothing_is_left_of_a_content_that_breaks_off(
    world: World, old: bytes | None
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        raise RuntimeError("the client is gone")

    async def endless(seen: asyncio.Event) -> AsyncIterator[bytes]:
        yield bytes(MIB)
        seen.set()
        await asyncio.Event().wait()

    async def body(box: Served) -> None:
        if old is not None:
            await write(box, "file", old)
        with pytest.raises(RuntimeError, match="gone"):
            await boxfiles.write_file(box.inside, "file", USER, broken())
        seen = asyncio.Event()
        task = asyncio.create_task(
            boxfiles.write_file(box.inside, "file", USER, endless(seen))
        )
        await seen.wait()
        task.cancel()
        await asyncio.wait({task})
        waited = "while pgrep -x sh > /dev/null; do sleep 0.01; done; ls"
        assert await box.shell(waited) == ("" if old is None else "file\n")
        if old is not None:
            assert await read(box, "file") == old

    world.go(body)


def test_a_reading_that_is_given_up_ends_its_process(world: World) -> None:
    async def body(box: Served) -> None:
        await box.shell("truncate -s 1G sparse")
        source = boxfiles.read_file(box.inside, "sparse", USER)
        assert len(await anext(source)) > 0
        await source.aclose()
        await box.shell("while pgrep -x cat > /dev/null; do sleep 0.01; done")

    world.go(body)


@pytest.mark.parametrize(
    ("program", "script"),
    [
        ("sh", "exec sleep 1000"),
        ("sh", "sleep 1000 & exit 0"),
        ("cat", "exec sleep 1000"),
        ("cat", "while :; do echo flood >&2; done"),
        ("cat", "setsid sleep 1000 & exec sleep 1000"),
    ],
)
def test_a_hostile_program_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, program: str, script: str
) -> None:
    monkeypatch.setattr(helper, "_PATIENCE", 0.5)
    monkeypatch.setattr(helper, "_LAST_SECONDS", 0.2)

    async def body(box: Served) -> None:
        await write(box, "file", b"data")
        place = f"/usr/bin/{program}"
        text = f"#!/bin/bash\n{script}\n".encode()
        await write(box, "/tmp/new", text, account=ROOT)
        await box.shell(f"chmod 755 /tmp/new && mv /tmp/new {place}", user=ROOT)
        for call in (read(box, "file"), write(box, "file", bytes(MIB), bytes(MIB))):
            started = time.monotonic()
            try:
                # What it says is between it and its user.
                assert await call in (b"", 2 * MIB, MIB)
            except (Unavailable, InvalidRequest):
                pass
            assert time.monotonic() - started < 10

    world.go(body)


def test_what_a_hostile_program_says_is_bounded(world: World) -> None:
    async def body(box: Served) -> None:
        loop = "for i in {1..2000}; do printf '\\033[2J<b>' >&2; done; exit 9"
        script = f"#!/bin/bash\n{loop}\n".encode()
        await write(box, "/tmp/new", script, account=ROOT)
        await box.shell("chmod 755 /tmp/new && mv /tmp/new /usr/bin/sh", user=ROOT)
        with pytest.raises(InvalidRequest) as caught:
            await read(box, "file")
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()

    world.go(body)


def test_after_the_end_nothing_is_read(world: World) -> None:
    async def body(box: Served) -> None:
        await box.inside.close()
        with pytest.raises(Conflict):
            await read(box, "file")
        with pytest.raises(Conflict):
            await write(box, "file", b"x")

    world.go(body)
