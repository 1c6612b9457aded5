"""Outputs in files: a beginning, an end, and how much is kept of all of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from stockade.agent.means import Bounds
from stockade.agent.outputs import TAIL, Output
from stockade.agent.shelf import Shelf
from stockade.errors import NotFound, Unavailable
from stockade.hosting import ExecutionId, Stream

LIMIT = 3000


def bounded(path: Path, limit: int = LIMIT) -> Output:
    room = [limit]

    def take(wanted: int) -> int:
        taken = min(wanted, room[0])
        room[0] -= taken
        return taken

    return Output(path, take_room=take)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_is_what_was_written(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    output = bounded(tmp_path / "stdout")
    written = b""
    while len(written) < chance.choice((10, LIMIT, 4 * TAIL)):
        piece = chance.randbytes(chance.choice((0, 1, 100, 4096, TAIL)))
        output.append(piece)
        written += piece
    output.close()
    assert output.size == len(written)
    assert output.kept == min(LIMIT, len(written))
    end = max(output.kept, len(written) - TAIL)
    for _ in range(200):
        offset, limit = chance.randrange(len(written) + 2), chance.randrange(1, 9000)
        if output.kept <= offset < end:
            with pytest.raises(Unavailable, match="too long to be kept whole"):
                output.read(offset, limit)
            continue
        found = output.read(offset, limit)
        assert found == written[offset : offset + len(found)]
        assert len(found) <= limit
        assert (found == b"") == (offset >= len(written))


def test_nothing_is_read_beyond_what_was_asked_for(tmp_path: Path) -> None:
    output = bounded(tmp_path / "stdout")
    output.append(b"0123456789")
    assert output.read(2, 3) == b"234"
    assert output.read(2, 0) == b""
    assert output.read(10, 5) == b""


def test_a_full_disk_loses_output_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "stdout").symlink_to("/dev/full")
    (tmp_path / "stdout-end").symlink_to("/dev/full")
    output = bounded(tmp_path / "stdout")
    output.append(b"lost")
    output.append(b"lost, too")
    assert (output.size, output.kept) == (13, 0)
    with pytest.raises(Unavailable):
        output.read(0, 1)


def test_a_directory_that_is_gone_loses_output_and_nothing_else(
    tmp_path: Path,
) -> None:
    output = bounded(tmp_path / "gone" / "stdout")
    output.append(b"lost")
    assert (output.size, output.kept) == (4, 0)


def shelf(path: Path, **bounds: int) -> Shelf:
    return Shelf(path / "shelf", Bounds(**bounds))


def keep(shelf: Shelf, name: str, stdout: bytes, stderr: bytes = b"") -> None:
    outputs = shelf.begin(ExecutionId(name))
    outputs[Stream.STDOUT].append(stdout)
    outputs[Stream.STDERR].append(stderr)
    assert shelf.end(ExecutionId(name), 3, outputs)


def read(shelf: Shelf, name: str) -> bytes:
    found = shelf.find(ExecutionId(name))
    assert found is not None
    return found.outputs[Stream.STDOUT].read(0, 1 << 20)


def test_how_an_execution_ended_is_found_again(tmp_path: Path) -> None:
    keep(shelf(tmp_path, stream=4), "one", b"0123456", b"err")
    found = shelf(tmp_path).find(ExecutionId("one"))
    assert found is not None
    assert found.status == 3
    sizes = {s.value: (o.size, o.kept) for s, o in found.outputs.items()}
    assert sizes == {"stdout": (7, 4), "stderr": (3, 3)}
    assert found.outputs[Stream.STDOUT].read(4, 9) == b"456"
    assert shelf(tmp_path).find(ExecutionId("two")) is None


def test_one_that_has_no_end_was_killed(tmp_path: Path) -> None:
    outputs = shelf(tmp_path).begin(ExecutionId("one"))
    outputs[Stream.STDERR].append(b"partial")
    found = shelf(tmp_path).find(ExecutionId("one"))
    assert found is not None
    assert (found.status, found.outputs[Stream.STDERR].size) == (137, 7)
    (tmp_path / "shelf" / "one" / "end").write_text("{]")
    again = shelf(tmp_path).find(ExecutionId("one"))
    assert again is not None
    assert again.status == 137


def test_one_that_could_not_be_started_is_forgotten(tmp_path: Path) -> None:
    made = shelf(tmp_path)
    made.begin(ExecutionId("one"))
    made.forget(ExecutionId("one"))
    assert made.find(ExecutionId("one")) is None


def test_the_oldest_outputs_make_room(tmp_path: Path) -> None:
    made = shelf(tmp_path, devbox=10)
    keep(made, "a", b"0123")
    keep(made, "b", b"0123")
    keep(made, "c", b"0123")
    with pytest.raises(NotFound, match="not kept any more"):
        read(made, "a")
    assert read(made, "b") == read(made, "c") == b"0123"
    # One that starts anew counts what there is.
    again = shelf(tmp_path, devbox=10)
    keep(again, "d", b"0123456")
    for name in ("a", "b"):
        with pytest.raises(NotFound):
            read(again, name)
    assert read(again, "d") == b"0123456"


def test_what_runs_is_not_deleted(tmp_path: Path) -> None:
    made = shelf(tmp_path, devbox=10)
    first = made.begin(ExecutionId("a"))[Stream.STDOUT]
    first.append(b"01234567")
    second = made.begin(ExecutionId("b"))[Stream.STDOUT]
    second.append(b"01234567")
    assert (first.kept, second.kept, second.size) == (8, 2, 8)
    assert second.read(2, 9) == b"234567"
