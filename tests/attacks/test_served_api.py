"""From a served devbox to the API that serves it: by any address, name and policy.

Whoever reaches the API with a stolen or guessed key owns every devbox of the account, and
the policies that hold this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.lab import Lab
from tests.lab.addresses import HOST4, HOST6, HOST_EXTRA4, HOST_PRIVATE4, v4
from tests.lab.serving import Server
from tests.lab.stockade import COMMAND

GATEWAYS = ("100.127.0.2", "[fd53:746f:636b::2]")
OWN = (HOST4, HOST_EXTRA4, HOST_PRIVATE4, "127.0.0.1", "0.0.0.0")
NAME = "api.stockade.test"
WORLD = "world.test"
# The status that an HTTP server answered with; 000 when none did.
ASK = "curl -sS -o /dev/null -m 4 -w '%{{http_code}}\\n' '{url}'"


@pytest.fixture(scope="module")
def server(lab: Lab, default_image: None) -> Iterator[Server]:
    lab.set_name(NAME, a=[HOST4], aaaa=[HOST6])
    lab.set_name(WORLD, a=[v4(66)])
    # Everywhere, which is more than the default.
    with Server(lab, "--listen", "0.0.0.0:0") as started:
        yield started


def stockade(server: Server, *arguments: str) -> str:
    assert server.lab is not None
    done = server.lab.exec_host(
        (COMMAND, *arguments), env=server.variables(), timeout=90
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def ask(server: Server, devbox: str, urls: list[str]) -> list[str]:
    """What a devbox gets from each of *urls*."""
    script = "; ".join(ASK.format(url=url) + " || true" for url in urls)
    return stockade(server, "devbox", "exec", devbox, script).split()


@pytest.mark.root
@pytest.mark.parametrize("policy", ["none", "all", "named"])
def test_the_api_is_out_of_reach(server: Server, policy: str) -> None:
    """The devbox asks each address of the machine, the gateway, and a name for it.

    The widest policies, and one that names the API, do not open it.
    """
    port = urlsplit(server.url).port
    hosts = [*OWN, f"[{HOST6}]", *GATEWAYS, NAME]
    urls = [f"http://{host}:{port}/healthz" for host in hosts]
    rules = {
        "none": None,
        "all": ("--allow-all",),
        "named": ("--allow", NAME, "--allow", WORLD, "--allow-cidr", "10.20.0.0/24"),
    }[policy]
    options: tuple[str, ...] = ()
    if rules is not None:
        stockade(server, "policy", "create", policy, *rules)
        options = ("--policy", policy)
    devbox = stockade(server, "devbox", "create", *options).strip()
    try:
        *answers, control = ask(server, devbox, [*urls, f"http://{WORLD}:{port}/hello"])
        assert control == "200"
        assert [a for a in answers if a == "200"] == []
        # Denials of the gateway are 403, by name; nothing else answers at all.
        assert set(answers) <= {"000", "403"}
    finally:
        stockade(server, "devbox", "shutdown", devbox)
    # The control: from the machine itself every one of its addresses answers.
    assert server.lab is not None
    for host in (HOST4, HOST_EXTRA4, HOST_PRIVATE4, "127.0.0.1"):
        argv = ("curl", "-sS", "-m", "4", f"http://{host}:{port}/healthz")
        assert server.lab.exec_host(argv).returncode == 0
