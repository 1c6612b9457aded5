"""A server from start to stop: one at a time, ready when it says so, clean at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.lab.serving import Server
from tests.lab.stockade import COMMAND

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def server(default_image: None) -> Iterator[Server]:
    with Server() as started:
        yield started


def stockade(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "STOCKADE_RUN_DIR": str(server.directory / "run")}
    return subprocess.run(
        (COMMAND, *arguments),
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_ready_when_it_says_so(server: Server) -> None:
    assert httpx2.get(f"{server.url}/healthz").status_code == 200


def test_nothing_else_is_answered_without_a_key(server: Server) -> None:
    for path in ("/v1/devboxes", "/v1/network-policies", "/metrics", "/openapi.json"):
        answer = httpx2.get(server.url + path)
        assert answer.status_code == 401, path
        assert answer.headers["x-should-retry"] == "false"


def test_the_database_is_for_its_owner_only(server: Server) -> None:
    files = [*server.data.glob("stockade.db*")]
    assert len(files) > 1
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * len(files)


def test_two_on_one_directory_are_refused(server: Server) -> None:
    done = stockade(
        server, "serve", "--data", str(server.data), "--listen", "127.0.0.1:0"
    )
    assert done.returncode == 125
    assert "another stockade serve has it" in done.stderr


def test_two_on_one_address_are_refused(server: Server, tmp_path: Path) -> None:
    address = server.url.removeprefix("http://")
    done = stockade(server, "serve", "--data", str(tmp_path), "--listen", address)
    assert done.returncode == 125
    assert "Address already in use" in done.stderr


def test_env_tells_root_how_clients_find_it(server: Server) -> None:
    done = stockade(server, "env", "--data", str(server.data))
    assert done.stdout.splitlines() == [
        f"export RUNLOOP_BASE_URL={server.url}",
        f"export RUNLOOP_API_KEY={server.key}",
    ]


def test_the_key_is_in_no_log_and_no_file_others_can_read(server: Server) -> None:
    httpx2.get(
        f"{server.url}/v1/devboxes", headers={"Authorization": f"Bearer {server.key}"}
    )
    assert server.key not in server.log
    for path in server.data.rglob("*"):
        # A disk is gigabytes of nothing, and does not see the key: no devbox was made.
        if path.is_symlink() or not path.is_file() or path.name == "disk.img":
            continue
        if server.key.encode() in path.read_bytes():
            assert path.name == "server.json"
            assert path.stat().st_mode & 0o077 == 0


def devboxes(run: Path) -> list[str]:
    # Also those made ahead, which keep that name here when somebody has claimed them.
    return [path.parent.name for path in run.glob("*/config.json")]


def test_it_ends_its_devboxes_and_leaves_nothing(default_image: None) -> None:
    with Server() as server:
        remote = {**os.environ, **server.variables()}
        made = subprocess.run(
            (COMMAND, "devbox", "create"),
            env=remote,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert (server.data / "devboxes" / made.stdout.strip()).is_dir()
        assert devboxes(server.directory / "run") != []
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(40) == 0
        assert devboxes(server.directory / "run") == []
        mounts = Path("/proc/self/mounts").read_text()
        assert str(server.directory) not in mounts


def test_with_tls_the_official_client_speaks_http2(default_image: None) -> None:
    with Server(None, "--tls") as server:
        script = (
            "import asyncio\n"
            "from runloop_api_client import AsyncRunloop\n"
            "async def main():\n"
            "    async with AsyncRunloop() as client:\n"
            "        answer = await client.devboxes.with_raw_response.list()\n"
            "        print(answer.http_response.http_version)\n"
            "asyncio.run(main())\n"
        )
        done = subprocess.run(
            (sys.executable, "-c", script),
            env={**os.environ, **server.variables()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == "HTTP/2\n", done.stderr
