"""The ways of others: what one would put in the place of the gateway instead."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.far import ADDRESSES, ECHO_PORT, HTTP_PORT, NAME, SERVER, STREAM_PORT
from bench.ways import Way, client, link, serving
from tests.lab import Lab

_ROOT = Path(__file__).resolve().parents[1]
#: Where `scripts/setup bench` puts what is not a Debian package.
MITMDUMP = _ROOT / ".bench/mitmproxy/bin/mitmdump"
SRT = _ROOT / ".bench/node_modules/.bin/srt"
_OFFSET = 10_000
# Port 53 of the uplink namespace is taken by the lab.
_RESOLVER_PORT = 1053
_QUIET: dict[str, Any] = {
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
}


@contextlib.contextmanager
def haproxy(lab: Lab, threads: int, number: int = 2) -> Iterator[Way]:
    """HAProxy: TCP with splicing; HTTP where each request's host is checked."""
    name = f"HAProxy ({threads} thread{'s' * (threads > 1)})"
    with (
        client() as pid,
        link(lab, pid, number) as ours,
        tempfile.TemporaryDirectory() as directory,
    ):
        to_all = "".join(
            f" server s{at} {address}:%d\n" for at, address in enumerate(ADDRESSES)
        )
        tcp = "".join(
            f"listen p{port}\n bind {ours}:{port + _OFFSET}\n mode tcp\n"
            f" balance roundrobin\n{to_all.replace('%d', str(port))}"
            for port in (STREAM_PORT, ECHO_PORT)
        )
        web = (
            f"listen web\n bind {ours}:{HTTP_PORT + _OFFSET}\n mode http\n"
            f" http-request deny unless {{ req.hdr(host) -i {NAME} }}\n"
            f" server s {SERVER}:{HTTP_PORT}\n"
        )
        config = Path(directory, "haproxy.cfg")
        config.write_text(
            f"global\n nbthread {threads}\n maxconn 4000\n"
            "defaults\n option splice-auto\n option splice-request\n"
            " option splice-response\n timeout connect 5s\n timeout client 60s\n"
            f" timeout server 60s\n{tcp}{web}"
        )
        argv = ["haproxy", "-db", "-f", str(config)]
        with serving(lab.popen_host(argv, **_QUIET)) as process:
            yield Way(name, pid, (ours,), port_offset=_OFFSET, processes=(process.pid,))


@contextlib.contextmanager
def squid(lab: Lab) -> Iterator[Way]:
    """Squid as the explicit proxy of a client that has no other way out."""
    with (
        client() as pid,
        link(lab, pid, 4) as ours,
        tempfile.TemporaryDirectory() as directory,
    ):
        Path(directory).chmod(0o777)  # Squid gives up being root.
        Path(directory, "hosts").write_text(f"{SERVER} {NAME}\n")
        config = Path(directory, "squid.conf")
        config.write_text(
            f"http_port {ours}:{HTTP_PORT + _OFFSET}\n"
            f"acl allowed dstdomain {NAME}\nhttp_access allow allowed\n"
            "http_access deny all\ncache deny all\naccess_log none\n"
            f"cache_log {directory}/cache.log\npid_filename none\n"
            f"hosts_file {directory}/hosts\nvisible_hostname bench\n"
            f"coredump_dir {directory}\npinger_enable off\nworkers 1\n"
            "max_filedescriptors 4096\nserver_persistent_connections on\n"
        )
        argv = ["squid", "-N", "-f", str(config)]
        with serving(lab.popen_host(argv, **_QUIET), 2.0) as process:
            yield Way(
                "Squid", pid, (ours,), port_offset=_OFFSET, proxy=True,
                processes=(process.pid,),
            )  # fmt: skip


@contextlib.contextmanager
def mitmproxy(lab: Lab) -> Iterator[Way]:
    """mitmproxy as an explicit proxy, with a script that checks each request's host."""
    if not MITMDUMP.exists():
        raise RuntimeError("not installed: scripts/setup bench")
    with (
        client() as pid,
        link(lab, pid, 5) as ours,
        tempfile.TemporaryDirectory() as directory,
    ):
        script = Path(directory, "allow.py")
        script.write_text(
            "from mitmproxy import http\n"
            "def request(flow):\n"
            f"    if flow.request.pretty_host != {NAME!r}:\n"
            "        flow.response = http.Response.make(403)\n"
        )
        argv = [
            str(MITMDUMP), "-q", "--listen-host", ours,
            "--listen-port", str(HTTP_PORT + _OFFSET), "-s", str(script),
            "--set", f"confdir={directory}", "--set", "flow_detail=0",
        ]  # fmt: skip
        with serving(lab.popen_host(argv, **_QUIET), 4.0) as process:
            yield Way(
                "mitmproxy", pid, (ours,), port_offset=_OFFSET, proxy=True,
                processes=(process.pid,),
            )  # fmt: skip


@contextlib.contextmanager
def sandbox_runtime(lab: Lab) -> Iterator[Way]:
    """Anthropic's sandbox-runtime: a sandbox whose one way out is its proxy.

    A process inside holds the sandbox open; clients enter its network namespace, where
    the proxy listens.
    """
    if not SRT.exists():
        raise RuntimeError("not installed: scripts/setup bench")
    with tempfile.TemporaryDirectory() as directory:
        settings = write_srt_settings(directory)
        told = Path(directory, "told")
        code = (
            "import os,sys,time;"
            "open(sys.argv[1],'w').write(os.environ['http_proxy']+'\\n');"
            "time.sleep(600)"
        )
        inside = f'{sys.executable} -c "{code}" {told}'
        argv = [str(SRT), "--settings", settings, "-c", inside]
        with serving(lab.popen_host(argv, start_new_session=True), 3.0) as process:
            proxy = urlsplit(told.read_text().strip())
            secret = f"{proxy.username}:{proxy.password}".encode()
            credentials = base64.b64encode(secret).decode()
            family = descendants(process.pid)
            yield Way(
                "sandbox-runtime", family[-1], ("127.0.0.1",), proxy=True,
                port_offset=(proxy.port or 0) - HTTP_PORT, processes=tuple(family),
                headers=(f"Proxy-Authorization: Basic {credentials}",),
            )  # fmt: skip


def write_srt_settings(directory: str) -> str:
    """Settings of sandbox-runtime that allow the benchmark's host; their path."""
    path = Path(directory, "srt.json")
    path.write_text(
        f'{{"network": {{"allowedDomains": ["{NAME}"], "deniedDomains": []}},'
        f' "filesystem": {{"denyRead": [], "allowWrite": ["{directory}"],'
        ' "denyWrite": []}}'
    )
    return str(path)


def descendants(pid: int) -> list[int]:
    """A process and all that it started, the latest last."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
    found = [pid]
    for child in sorted(parents):
        if parents[child] in found:
            found.append(child)
    return found


@contextlib.contextmanager
def dnsmasq(lab: Lab) -> Iterator[Way]:
    """dnsmasq beside the client, with one answer at hand and the lab's resolver."""
    with client() as pid, link(lab, pid, 3) as ours:
        argv = [
            "dnsmasq", "--keep-in-foreground", "--no-hosts", "--no-resolv",
            f"--server={resolver_of(lab)}", f"--listen-address={ours}",
            f"--port={_RESOLVER_PORT}", "--bind-interfaces", "--user=root", "--pid-file=",
            "--conf-file=/dev/null", f"--host-record={NAME},{SERVER}",
            "--cache-size=10000", "--dns-forward-max=1000",
        ]  # fmt: skip
        with serving(lab.popen_host(argv)) as process:
            yield Way(
                "dnsmasq", pid, resolver=ours, resolver_port=_RESOLVER_PORT,
                processes=(process.pid,),
            )  # fmt: skip


@contextlib.contextmanager
def unbound(lab: Lab) -> Iterator[Way]:
    """unbound, forwarding to the lab's resolver, one thread."""
    with (
        client() as pid,
        link(lab, pid, 6) as ours,
        tempfile.TemporaryDirectory() as directory,
    ):
        config = Path(directory, "unbound.conf")
        config.write_text(
            f"server:\n interface: {ours}@{_RESOLVER_PORT}\n"
            " access-control: 10.99.0.0/16 allow\n"
            ' num-threads: 1\n do-daemonize: no\n username: ""\n chroot: ""\n'
            f' directory: "{directory}"\n pidfile: ""\n use-syslog: no\n'
            ' module-config: "iterator"\n do-ip6: no\n'
            f'forward-zone:\n name: "."\n forward-addr: {resolver_of(lab)}\n'
        )
        argv = ["unbound", "-d", "-c", str(config)]
        with serving(lab.popen_host(argv, **_QUIET), 1.0) as process:
            yield Way(
                "unbound", pid, resolver=ours, resolver_port=_RESOLVER_PORT,
                processes=(process.pid,),
            )  # fmt: skip


def resolver_of(lab: Lab) -> str:
    """The resolver that the lab's uplink namespace uses."""
    text = lab.exec_host(["cat", "/etc/resolv.conf"]).stdout
    lines = [line.split() for line in text.splitlines()]
    return next(line[1] for line in lines if line[:1] == ["nameserver"])
