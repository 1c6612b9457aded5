"""Real package clients inside a policed devbox, against the machine's own registries.

What a person does: run once with everything allowed, read in the records which hosts were
needed, then run with those hosts only. No registry is named here: the hosts are those that
this machine's package clients are configured for.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

STOCKADE = Path(sys.executable).parent / "stockade"
APT = """
set -e
apt-get -qq update
apt-get -qq install -y --no-install-recommends hello >/dev/null
hello
"""
PIP = """
set -e
PYTHONPATH=/opt/pip python3 -m pip -q --disable-pip-version-check install \
    --no-cache-dir --target /tmp/target --no-deps six
PYTHONPATH=/tmp/target python3 -c 'import six; print("six", six.__version__)'
"""


@pytest.mark.root
def test_apt_installs_a_package_with_only_the_hosts_it_needs(tmp_path: Path) -> None:
    """A full `apt-get update` and an install pass the gateway; without hosts, nothing."""
    _reachable(_apt_hosts(), "a Debian archive")
    learnt = _learn(tmp_path, APT)
    done = _run(*_allow(learnt), "--", "bash", "-c", APT)
    assert done.returncode == 0, done.stderr
    assert "Hello, world!" in done.stdout
    denied = _run("--", "bash", "-c", APT)
    assert denied.returncode != 0
    assert "Hello, world!" not in denied.stdout
    assert all(f"--allow {host}" in denied.stderr for host in _apt_hosts() & learnt)


@pytest.mark.root
def test_pip_installs_a_package_with_only_the_hosts_it_needs(tmp_path: Path) -> None:
    """TLS with the machine's own certificate authorities passes the gateway."""
    _reachable(_pip_hosts(), "a Python package index")
    found = importlib.util.find_spec("pip")
    assert found is not None
    assert found.submodule_search_locations is not None
    options = [
        f"--mount={found.submodule_search_locations[0]}:/opt/pip/pip:ro",
        *(f"--env={name}" for name in ("PIP_INDEX_URL",) if name in os.environ),
    ]
    learnt = _learn(tmp_path, PIP, *options)
    done = _run(*options, *_allow(learnt), "--", "bash", "-c", PIP)
    assert done.returncode == 0, done.stderr
    assert "six" in done.stdout
    denied = _run(*options, "--env=PIP_RETRIES=0", "--", "bash", "-c", PIP)
    assert denied.returncode != 0
    assert all(f"--allow {host}" in denied.stderr for host in _pip_hosts())


def _learn(tmp_path: Path, script: str, *options: str) -> set[str]:
    """The names a script reaches when it may reach everything."""
    flows = tmp_path / "flows.jsonl"
    done = _run(*options, "--allow-all", f"--flows={flows}", "--", "bash", "-c", script)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in flows.read_text().splitlines()]
    return {r["name"] for r in records if r["kind"] != "dns" and r["name"]}


def _allow(hosts: set[str]) -> list[str]:
    return [f"--allow={host}" for host in sorted(hosts)]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(STOCKADE), "run", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _apt_hosts() -> set[str]:
    """The archive hosts in this machine's apt sources that the image has, too."""
    done = _run("-q", "--", "cat", "/etc/apt/sources.list")
    folder = _run("-q", "--", "sh", "-c", "cat /etc/apt/sources.list.d/*")
    return set(re.findall(r"https?://([^/\s\]:]+)", done.stdout + folder.stdout))


def _pip_hosts() -> set[str]:
    from pip._internal.models.index import PyPI

    index = os.environ.get("PIP_INDEX_URL") or PyPI.simple_url
    return {host} if (host := urlsplit(index).hostname) else set()


def _reachable(hosts: set[str], what: str) -> None:
    for host in hosts:
        for port in (443, 80):
            try:
                socket.create_connection((host, port), timeout=3).close()
            except OSError:
                continue
            return
    pytest.skip(f"{what} cannot be reached from this machine")
