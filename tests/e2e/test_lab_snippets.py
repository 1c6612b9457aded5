"""The notebook that documented snippets are run in."""

from __future__ import annotations

import pytest

from tests.lab.snippets import SnippetFailed, Snippets


def test_names_stay_and_await_works_outside_of_functions() -> None:
    with Snippets({"GREETING": "hello"}) as snippets:
        assert snippets.run("import asyncio, os\nx = os.environ['GREETING']") == ""
        assert snippets.run("await asyncio.sleep(0)\nprint(x)") == "hello\n"
        with pytest.raises(SnippetFailed, match="ZeroDivisionError"):
            snippets.run("1 / 0")
        assert snippets.run("print(x)") == "hello\n"
