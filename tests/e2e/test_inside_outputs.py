"""What commands in a devbox print: kept within bounds, followed by many, read again."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections.abc import AsyncIterator

import pytest

from stockade.agent.executions import Executions
from stockade.agent.means import Bounds
from stockade.agent.outputs import TAIL
from stockade.errors import NotFound, Unavailable
from stockade.hosting import Execution, Stream
from tests.e2e.inside_boxes import Served, World, world_fixture

pytestmark = pytest.mark.root
world = world_fixture

MIB = 1 << 20
_FLOOD = "yes 0123456789abcde | head -c {}"


async def count(source: AsyncIterator[bytes], counted: list[int]) -> None:
    async for data in source:
        counted[0] += len(data)


def test_outputs_are_apart_and_binary(world: World) -> None:
    async def body(box: Served) -> None:
        script = "printf '\\000\\377\\n\\303'; printf '\\200' >&2"
        name = await box.sh(script)
        assert await box.finish(name) == Execution(name, 0, 4, 1)
        assert await box.output(name) == b"\0\xff\n\xc3"
        assert await box.output(name, Stream.STDERR) == b"\x80"
        assert await box.output(name, offset=2) == b"\n\xc3"
        assert await box.output(name, offset=99) == b""
        assert await box.executions.read_output(name, Stream.STDOUT, 1, 2) == b"\xff\n"

    world.go(body)


def test_a_long_output_is_counted_whole_and_kept_in_part(world: World) -> None:
    size = 200 * MIB

    async def body(box: Served) -> None:
        name = await box.sh(_FLOOD.format(size) + "; echo end >&2")
        assert await box.finish(name) == Execution(name, 0, size, 4)
        for executions in (box.executions, Executions(box.directory, box.means)):

            async def read(offset: int, limit: int, executions=executions) -> bytes:
                return await executions.read_output(name, Stream.STDOUT, offset, limit)

            assert await read(0, 16) == b"0123456789abcde\n"
            assert await read(64 * MIB - 16, 99) == b"0123456789abcde\n"
            assert await read(size - 16, 99) == b"0123456789abcde\n"
            assert len(await read(size - TAIL, TAIL)) == TAIL
            with pytest.raises(Unavailable, match="too long to be kept whole"):
                await read(64 * MIB, 1)
            source = executions.follow_output(name, Stream.STDOUT, 0)
            counted = [0]
            with pytest.raises(Unavailable, match=f"the first {64 * MIB} are"):
                await count(source, counted)
            assert counted == [64 * MIB]
        kept = sum(file.stat().st_size for file in box.directory.rglob("*"))
        assert kept < 66 * MIB

    world.go(body)


def test_who_keeps_up_sees_all_of_a_long_output(world: World) -> None:
    async def body(box: Served) -> None:
        script = "for i in $(seq 64); do head -c 65536 /dev/zero; read; done"
        name = await box.sh(script, attach_stdin=True)
        seen = 0
        async for data in box.executions.follow_output(name, Stream.STDOUT, 0):
            seen += len(data)
            if seen % 65536 == 0:
                await box.executions.send_input(name, b"\n")
        assert seen == 4 * MIB

    world.go(body, bounds=Bounds(stream=MIB))


def test_many_follow_and_see_the_same(world: World) -> None:
    async def body(box: Served) -> None:
        script = "for i in $(seq 300); do echo line $i; sleep 0.002; done"
        name = await box.sh(script)

        async def follow(offset: int) -> bytes:
            await asyncio.sleep(offset / 500)
            return await box.output(name, offset=offset)

        outputs = await asyncio.gather(*(follow(n) for n in range(50)))
        whole = "".join(f"line {n}\n" for n in range(1, 301)).encode()
        assert outputs == [whole[n:] for n in range(50)]
        assert await box.output(name) == whole

    world.go(body)


def test_who_stops_following_leaves_nothing(world: World) -> None:
    async def body(box: Served) -> None:
        name = await box.sh("echo first; sleep 1000")
        before = len(asyncio.all_tasks())
        follows = [asyncio.create_task(box.output(name)) for _ in range(20)]
        waits = [asyncio.create_task(box.finish(name)) for _ in range(20)]
        await asyncio.sleep(0.05)
        for task in (*follows, *waits):
            task.cancel()
        await asyncio.wait([*follows, *waits])
        assert len(asyncio.all_tasks()) == before
        assert await box.first(name) == b"first\n"
        await box.executions.signal(name, signal.SIGKILL, group=True)
        assert (await box.finish(name)).exit_status == 137

    world.go(body)


def test_what_a_slow_follower_gets_is_complete(world: World) -> None:
    async def body(box: Served) -> None:
        name = await box.sh(_FLOOD.format(5 * MIB))
        digest = hashlib.sha256()
        async for data in box.executions.follow_output(name, Stream.STDOUT, 0):
            digest.update(data)
            await asyncio.sleep(0.002)
        wanted = hashlib.sha256(b"0123456789abcde\n" * (5 * MIB // 16)).hexdigest()
        assert digest.hexdigest() == wanted

    world.go(body)


def test_floods_leave_the_event_loop_to_others(world: World) -> None:
    async def body(box: Served) -> None:
        script = "import os\nwhile True: os.write(1, b'x'); os.write(2, bytes(65536))"
        names = [await box.start("python3", "-c", script) for _ in range(8)]
        await box.first(names[-1])
        delays = []
        for _ in range(100):
            started = time.perf_counter()
            await asyncio.sleep(0.005)
            delays.append(time.perf_counter() - started - 0.005)
        delays.sort()
        assert delays[50] < 0.1
        for name in names:
            await box.executions.signal(name, signal.SIGKILL, group=True)
            await box.finish(name)

    world.go(body)


def test_the_oldest_outputs_go_when_a_devbox_has_too_many(world: World) -> None:
    async def body(box: Served) -> None:
        names = []
        for _ in range(5):
            names.append(await box.sh(_FLOOD.format(MIB)))
            await box.finish(names[-1])
        for name in names:
            assert await box.finish(name) == Execution(name, 0, MIB, 0)
        for name in names[:2]:
            with pytest.raises(NotFound, match="not kept any more"):
                await box.output(name)
        for name in names[2:]:
            assert len(await box.output(name)) == MIB
        # What an earlier server left counts, too.
        again = Executions(box.directory, box.means)
        again.attach(box.inside)
        box.executions = again
        name = await box.sh(_FLOOD.format(MIB), id="later")
        await box.finish(name)
        with pytest.raises(NotFound, match="not kept any more"):
            await box.output(names[2])
        assert len(await box.output(name)) == MIB

    world.go(body, bounds=Bounds(devbox=3 * MIB))


def test_without_room_a_running_command_goes_on(world: World) -> None:
    async def body(box: Served) -> None:
        name = await box.sh(_FLOOD.format(9 * MIB))
        assert await box.finish(name) == Execution(name, 0, 9 * MIB, 0)
        tail = await box.executions.read_output(name, Stream.STDOUT, 9 * MIB - 16, 99)
        assert tail == b"0123456789abcde\n"

    world.go(body, bounds=Bounds(devbox=2 * MIB))
