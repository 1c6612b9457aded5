"""The file of flow records: whole lines, and a count of what is not in it."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stockade.cli import flow_file as module
from stockade.cli.flow_file import FlowFile
from stockade.errors import InvalidRequest
from stockade.gateway.flowlog import FlowLog, FlowRecord, Kind, Subject
from stockade.policy.decide import Reason, deny
from tests.unit.gateway.fakes import Clock


def records(count: int) -> list[FlowRecord]:
    made: list[FlowRecord] = []
    log = FlowLog(wall_clock=Clock(), clock=Clock())
    log.subscribe(made.append)
    for number in range(count):
        name = f"{number}.d.test"
        log.open(Subject("dbx_1"), Kind.TCP, deny(Reason.QUIC), name=name).close()
    return made


def names(path: Path) -> list[str]:
    return [json.loads(line)["name"] for line in path.read_text().splitlines()]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Files of this process may not grow beyond *size*: a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_every_record_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    path.write_text("what was there before\n")
    file = FlowFile(path)
    for record in records(500):
        file.write(record)
    file.close()
    assert names(path) == [f"{number}.d.test" for number in range(500)]
    assert file.complaint() is None


def test_without_a_record_the_file_is_empty(tmp_path: Path) -> None:
    file = FlowFile(tmp_path / "flows")
    file.close()
    assert (tmp_path / "flows").read_text() == ""
    assert file.complaint() is None


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    file = FlowFile(path)
    some = records(20)
    with at_most(1_000):
        for record in some:
            file.write(record)
        file.close()
    written = names(path)
    assert 0 < len(written) < 20
    assert written == [record.name for record in some[: len(written)]]
    lost = 20 - len(written)
    assert file.complaint() == (
        f"{lost} flow records are not in {path}: File too large"
    )


def test_a_disk_with_room_again_is_written_to_again(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    file = FlowFile(path)
    first, *rest = records(9)
    with at_most(100):
        file.write(first)
        while file._waiting.qsize() or not file._lost:
            pass
    for record in rest:
        file.write(record)
    file.close()
    assert names(path) == [record.name for record in rest]
    assert (file.complaint() or "").startswith(f"1 flow record is not in {path}: ")


def test_a_disk_that_does_not_answer_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that nobody reads: the end is waited for, but not for ever."""
    monkeypatch.setattr(module, "END_SECONDS", 0.05)
    monkeypatch.setattr(module, "MAX_WAITING", 1_000)
    path = tmp_path / "flows"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = FlowFile(path)
    for record in records(2_000):
        file.write(record)
    file.miss(3)
    file.close()
    assert "it takes too long" in (file.complaint() or "")
    os.set_blocking(reader, True)
    while os.read(reader, 1 << 20).count(b"\n") and file._writer.is_alive():
        pass
    file._writer.join(5)
    os.close(reader)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="nowhere/flows: No such file"):
        FlowFile(tmp_path / "nowhere" / "flows")
