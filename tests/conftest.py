"""Fixtures that need the lab: the internet itself, and `stockade run` inside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.stockade import Stockade, build_default_image


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """One lab for all tests of this process. Use `lab.mark` and `lab.since`."""
    with Lab() as started:
        yield started


@pytest.fixture(scope="session")
def default_image() -> None:
    """The image of a plain `stockade run`; made before, where there is an archive."""
    build_default_image()


@pytest.fixture
def stockade(lab: Lab, default_image: None) -> Stockade:
    """Runs `stockade` in the lab's host namespace."""
    return Stockade(lab)
