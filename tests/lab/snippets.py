"""Snippets of Python as documentation prints them, run as they are written.

`Snippets` is a process with the official client (or ours) that keeps its variables from
one snippet to the next and understands `await` outside of functions, as a notebook does.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final, Self

from tests.lab.lab import Lab

_PATIENCE: Final = 60.0


class SnippetFailed(AssertionError):
    """A snippet raised; the message has its traceback."""


class Snippets:
    """A Python that runs snippets one after the other, in the lab if there is one."""

    def __init__(self, environ: Mapping[str, str], lab: Lab | None = None) -> None:
        argv = (sys.executable, "-m", "tests.lab.snippets")
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
        }
        process: subprocess.Popen[str]
        if lab is not None:
            process = lab.popen_host(argv, env=environ, **pipes)
        else:
            process = subprocess.Popen(argv, env={**os.environ, **environ}, **pipes)
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input, self._output = process.stdin, process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def run(self, code: str) -> str:
        """Run *code*; what it printed. Raises `SnippetFailed` when it raises."""
        self._input.write(json.dumps(code) + "\n")
        self._input.flush()
        line = self._output.readline()
        if not line:
            raise SnippetFailed(f"the process ended during:\n{code}")
        answer = json.loads(line)
        if answer["error"]:
            raise SnippetFailed(f"{answer['output']}{answer['error']}\nin:\n{code}")
        return str(answer["output"])


async def _serve() -> None:
    """The child: read snippets, run each, say what it printed."""
    answers = sys.stdout
    names: dict[str, Any] = {"__name__": "__main__"}
    for line in iter(sys.stdin.readline, ""):
        printed, error = io.StringIO(), ""
        with contextlib.redirect_stdout(printed):
            try:
                await _execute(json.loads(line), names)
            except Exception:  # noqa: BLE001 - whatever a snippet raises is told
                error = traceback.format_exc()
        json.dump({"output": printed.getvalue(), "error": error}, answers)
        answers.write("\n")
        answers.flush()


async def _execute(source: str, names: dict[str, Any]) -> None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, "<snippet>", "exec", flags=flags)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result


if __name__ == "__main__":
    asyncio.run(_serve())
