"""The root of the command line: what is imported for what."""

from __future__ import annotations

import subprocess
import sys

HEAVY = "httpx2 rich sqlalchemy fastapi pydantic granian structlog cryptography alembic"

CODE = f"""
import sys
import stockade.cli.main, stockade.cli.run, stockade.cli.session
print([name for name in {HEAVY.split()!r} if name in sys.modules])
"""


def test_run_imports_nothing_of_the_server() -> None:
    """Half a second of imports would be twice what a run takes."""
    done = subprocess.run(
        (sys.executable, "-c", CODE), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
