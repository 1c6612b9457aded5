"""Programs that people use, unchanged, against servers of their own protocols.

Those that the image lacks are the machine's, with the machine's loader and libraries.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.clientware import CLIENTS
from tests.attacks.inside import run_inside
from tests.attacks.processes import wait_until
from tests.lab import Lab
from tests.lab.addresses import v4, v6
from tests.lab.certificates import Certificates
from tests.lab.stockade import Stockade

_ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = {"real4.test": v4(205), "real6.test": v6(205)}
PORTS = (21, 22, 25, 80, 443, 587, 873, 3306, 5432, 6379, 6380, 8443, 9418, 30021)

H2_APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        event = await receive()
        size += len(event.get("body", b""))
        more = event.get("more_body", False)
    text = f"http {scope['http_version']} {size}\\n".encode()
    head = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": text})
"""
RSYNC = """
use chroot = no
uid = 0
gid = 0
[files]
path = {directory}
read only = no
"""


@dataclass(frozen=True, slots=True)
class Servers:
    """What clients need to know: what they may read, and what they have to get."""

    directory: Path
    client: Path
    digest: str


def git(directory: Path, *command: str) -> None:
    """Run git as somebody."""
    who = ("-c", "user.name=Test", "-c", "user.email=test@a.test")
    subprocess.run(["git", *who, *command], cwd=directory, check=True)


def make_files(directory: Path) -> bytes:
    """A file, and a repository with it."""
    content = os.urandom(2_000_000)
    (directory / "file").write_bytes(content)
    work = directory / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    (work / "big").write_bytes(content)
    git(work, "add", "big")
    git(work, "commit", "-q", "-m", "a file")
    git(directory, "clone", "-q", "--bare", "work", "repo.git")
    return content


def make_keys(directory: Path, client: Path) -> None:
    """The host's key and the client's."""
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(client / "key")]
    subprocess.run(make, check=True)
    host = directory / "host_key"
    subprocess.run(
        ["dropbearkey", "-t", "ed25519", "-f", host], check=True, capture_output=True
    )
    shutil.copy(client / "key.pub", directory / "authorized_keys")


def commands(lab: Lab, directory: Path) -> list[list[str]]:
    """Each server's command line."""
    ca, key_of_ca = lab.ca_pem.read_bytes(), (lab.directory / "ca.key").read_bytes()
    Certificates(ca, key_of_ca, directory).context(ADDRESSES)
    leaf = str(directory / "leaf-0.pem")
    key = directory / "key.pem"
    at = Path(leaf).read_text().index("-----BEGIN PRIV")
    key.write_text(Path(leaf).read_text()[at:])
    (directory / "h2app.py").write_text(H2_APP)
    rsync = directory / "rsyncd.conf"
    rsync.write_text(RSYNC.format(directory=directory))
    home = pwd.getpwuid(0).pw_dir
    ssh = (
        f"mount -t tmpfs -o mode=700 none {home} && mkdir -m 700 {home}/.ssh"
        f" && install -m 600 {directory}/authorized_keys {home}/.ssh"
        f" && exec dropbear -F -E -s -m -r {directory}/host_key -p 22 -P ''"
    )
    redis = ["--save", "", "--port", "6379", "--tls-port", "6380",
             "--tls-cert-file", leaf, "--tls-key-file", leaf, "--tls-auth-clients", "no",
             "--tls-ca-cert-file", str(lab.ca_pem), "--protected-mode", "no"]  # fmt: skip
    return [
        [sys.executable, "-m", "tests.attacks.realservers", str(directory), leaf],
        ["rsync", "--daemon", "--no-detach", f"--config={rsync}"],
        ["git", "daemon", f"--base-path={directory}", "--export-all", "--reuseaddr"],
        ["unshare", "--mount", "sh", "-c", ssh],
        # Debian's redis-tools has the server under another name.
        ["bash", "-c", 'exec -a redis-server redis-check-rdb "$@"', "sh", *redis],
        [
            *(str(Path(sys.executable).with_name("granian")), "--interface", "asgi"),
            *("--host", "::", "--port", "8443", "--no-log", "--ssl-certificate", leaf),
            *("--ssl-keyfile", str(key), "--working-dir", str(directory), "h2app:app"),
        ],
    ]


@pytest.fixture(scope="module")
def servers(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """All servers, among those of the lab, at two names of their own."""
    directory = tmp_path_factory.mktemp("servers")
    client = tmp_path_factory.mktemp("client")
    content = make_files(directory)
    make_keys(directory, client)
    (client / "upload").write_bytes(content)
    lab.set_name("real4.test", a=[ADDRESSES["real4.test"]])
    lab.set_name("real6.test", aaaa=[ADDRESSES["real6.test"]])
    with ExitStack() as stack:
        log = stack.enter_context((directory / "log").open("w"))
        for command in commands(lab, directory):
            process = lab.popen_inet(
                command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        wait_until(lambda: all_listen(lab), "servers", 30)
        yield Servers(directory, client, hashlib.sha256(content).hexdigest())
    lab.remove_name("real4.test")
    lab.remove_name("real6.test")


def all_listen(lab: Lab) -> bool:
    """Whether there is a listener on each port."""
    command = [*lab.inet_prefix, "ss", "-Hltn"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {line.split()[3].rpartition(":")[2] for line in listed.splitlines()}
    return {str(port) for port in PORTS} <= found


def programs() -> dict[str, str]:
    """The machine's programs that the image lacks, and the loader, as seen inside."""
    found = {
        name: shutil.which(name) for name in ("wget", "node", "rsync", "redis-cli")
    }
    psql = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"))
    found["psql"] = str(psql[-1]) if psql else shutil.which("psql")
    maps = Path("/proc/self/maps").read_text().split()
    found["loader"] = next(word for word in maps if "/ld-" in word)
    missing = [name for name, path in found.items() if path is None]
    assert not missing, f"scripts/setup test installs {missing}"
    return {
        name: str(Path(str(path)).resolve()).replace("/usr/", "/machine/", 1)
        for name, path in found.items()
    }


USE = r"""
import concurrent.futures
PRELUDE = '''
cd "$(mktemp -d)"
machine() {
    local program=MACHINE_${1//-/_}; shift
    "$MACHINE_loader" --library-path "${MACHINE_loader%/*}" "${!program}" "$@"
}
'''
commands, paths = given
for name, path in paths.items():
    os.environ["MACHINE_" + name.replace("-", "_")] = path
subprocess.run("install -m 600 /client/key /tmp/key", shell=True, check=True)
def use(command):
    done = subprocess.run(["timeout", "25", "bash", "-c", PRELUDE + command], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL)
    return done.stdout
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    result = dict(zip(commands, pool.map(use, commands.values())))
"""


def use(stockade: Stockade, servers: Servers, host: str, policy: str) -> Any:
    """Run every client in one devbox."""

    def told(text: str) -> str:
        known = {"HOST": host, "SUM": servers.digest, "BRANCH": host.partition(".")[0]}
        known["DIRECTORY"] = str(servers.directory)
        for word, value in known.items():
            text = text.replace(word, value)
        return text

    report = run_inside(
        stockade,
        USE,
        policy=policy,
        options=[
            f"--mount={servers.client}:/client:ro",
            "--mount=/usr:/machine:ro",
        ],
        arguments=[
            {name: told(command) for name, (command, _) in CLIENTS.items()},
            programs(),
        ],
        timeout=180,
    )
    wanted = {
        name: [told(text) for text in texts] for name, (_, texts) in CLIENTS.items()
    }
    return report, wanted


@pytest.mark.parametrize("host", ADDRESSES)
def test_every_client_gets_what_it_came_for(
    stockade: Stockade, servers: Servers, host: str
) -> None:
    """git, ssh, rsync, databases, mail, HTTP/2, runtimes: with this one name allowed.

    Each of the servers' ports is used, and all records say that it was allowed.
    """
    report, wanted = use(stockade, servers, host, host)
    failed = {
        name: report.value[name]
        for name, texts in wanted.items()
        if not all(text in report.value[name] for text in texts)
    }
    assert failed == {}
    reached = {key.port for key in report.packets if key.address == ADDRESSES[host]}
    assert reached == set(PORTS)
    assert {flow["verdict"] for flow in report.run.flows} == {"allow"}


def test_no_client_gets_anything_without_the_name(
    stockade: Stockade, servers: Servers
) -> None:
    """The same clients, under a policy with another name: no packet arrives."""
    report, wanted = use(stockade, servers, "real4.test", "a.test")
    for name, texts in wanted.items():
        assert not [text for text in texts if text in report.value[name]], name
    assert sum(report.packets.values()) == 0
    assert report.reasons == {"hostname_not_allowed"}
