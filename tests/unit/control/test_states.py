"""The life of a devbox: what may follow what."""

from __future__ import annotations

import pytest

from stockade.control.states import (
    TERMINAL,
    Status,
    failure_of,
    may_follow,
    parse_status,
)
from stockade.errors import InvalidRequest
from stockade.hosting import EndCause


def test_nothing_follows_an_end_and_an_end_may_follow_everything_else() -> None:
    for before in Status:
        for end in TERMINAL:
            assert may_follow(before, end) == (before not in TERMINAL)
        if before in TERMINAL:
            assert not any(may_follow(before, after) for after in Status)


@pytest.mark.parametrize(
    "path",
    [
        "queued provisioning initializing running suspending suspended provisioning",
        "provisioning suspended",
    ],
)
def test_the_ways_through_life(path: str) -> None:
    steps = [Status(word) for word in path.split()]
    assert all(map(may_follow, steps, steps[1:]))


@pytest.mark.parametrize(
    "path",
    [
        "provisioning running",  # what has to run before it would not have run
        "running suspended",
        "suspended running",
        "initializing suspending",
        "running provisioning",
    ],
)
def test_no_step_is_left_out(path: str) -> None:
    before, after = map(Status, path.split())
    assert not may_follow(before, after)


def test_statuses_are_read_and_others_refused() -> None:
    assert parse_status("scheduled") is Status.QUEUED
    assert all(parse_status(status.value) is status for status in Status)
    with pytest.raises(InvalidRequest, match="'Running' is not a status"):
        parse_status("Running")


def test_every_end_has_a_reason() -> None:
    assert {failure_of(cause).value for cause in EndCause} == {
        "execution_failed",
        "out_of_memory",
        "out_of_disk",
        "health_check_failed",
    }
