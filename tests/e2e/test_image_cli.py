"""`stockade image`, as a person and a program use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.image_archives import docker_archive, shell
from tests.e2e.runtime_archives import ROOT, entry

pytestmark = pytest.mark.root


def stockade(data: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stockade", *map(str, arguments)],
        env={**os.environ, "STOCKADE_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_import_list_run_remove(tmp_path: Path) -> None:
    data = tmp_path / "data"
    step = [entry("etc/made", data=b"by a step")]
    path = docker_archive(tmp_path / "saved.tar", [shell(), step], ["team/tools:1.4"])
    done = stockade(data, "image", "import", path)
    assert done.stdout.startswith("team/tools:1.4  "), done.stderr
    digest = done.stdout.split()[1]
    (listed,) = json.loads(stockade(data, "image", "list", "--json").stdout)
    assert (listed["names"], listed["layers"]) == (["team/tools:1.4"], 2)
    assert listed["digest"].startswith(digest)
    assert listed["size"] > 100_000
    assert "team/tools:1.4" in stockade(data, "image", "list").stdout
    ran = stockade(
        data,
        *("run", "-q", "--image", "team/tools:1.4"),
        *("--", "sh", "-c", "read x </etc/made; echo $x"),
    )
    assert ran.stdout == "by a step\n", ran.stderr
    other = docker_archive(tmp_path / "2.tar", [[*ROOT, entry("etc/2")]])
    assert stockade(data, "image", "import", "--name", "second", other).returncode == 0
    removed = stockade(data, "image", "rm", "--json", "team/tools:1.4")
    assert json.loads(removed.stdout)["images"] == [listed["digest"]]
    assert json.loads(removed.stdout)["layers"] == 2
    pruned = stockade(data, "image", "prune", "--all")
    assert pruned.stdout.startswith("removed ")
    assert stockade(data, "image", "list", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "nothing.tar"), "there is no image file"),
        (("import", "--name", "default", "saved.tar"), "cannot be called"),
        (("import", "--name", "0123456789abcdef", "saved.tar"), "cannot be called"),
        (("import", "--pick", "x", "saved.tar"), "does not have that image"),
        (("rm", "nothing"), "there is no image"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    docker_archive(tmp_path / "saved.tar", [ROOT], ["a:1"])
    given = [
        str(tmp_path / text) if text.endswith(".tar") else text for text in arguments
    ]
    done = stockade(tmp_path / "data", "image", *given)
    assert done.returncode == 125
    assert message in done.stderr
    assert "Traceback" not in done.stderr
