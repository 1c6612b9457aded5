"""Shows the server at work: `python -m tests.lab.demo_serve`, or `make demo`.

Starts `stockade serve` in a lab, drives it with the official client and the command
line, and compares what came of each step with what the lab saw. Ends with status 1 if
anything was not as expected.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.lab.demo import Page
from tests.lab.demo_scenes import add_names
from tests.lab.lab import Lab
from tests.lab.serving import Server
from tests.lab.snippets import SnippetFailed, Snippets
from tests.lab.stockade import COMMAND, build_default_image

_GITHUB: Final = "https://github.com/hello"
_OPENAI: Final = "https://api.openai.com/hello"
_WIDTH: Final = 78

_CREATE: Final = """\
from runloop_api_client import AsyncRunloopSDK

runloop = AsyncRunloopSDK()
policy = await runloop.network_policy.create(
    name="production-policy",
    allow_all=False,
    allowed_hostnames=["github.com", "*.github.com"],
    description="Production policy for AI agent workloads",
)
devbox = await runloop.devbox.create(
    launch_parameters={"network_policy_id": policy.id}
)
print(policy.id, devbox.id)
"""
_TRY: Final = """\
result = await devbox.cmd.exec("curl -sS -m 10 {url}")
print(result.exit_code, await result.stdout(), await result.stderr())
"""
_UPDATE: Final = """\
await policy.update(allowed_hostnames=["api.openai.com"])
print((await policy.get_info()).egress.allowed_hostnames)
"""
_DELETE: Final = """\
import runloop_api_client
try:
    await policy.delete()
except runloop_api_client.BadRequestError as error:
    print(error.body["message"])
"""
_CLEAN: Final = """\
await devbox.shutdown()
await policy.delete()
print((await devbox.get_info()).status, len(await runloop.network_policy.list()))
"""


@dataclass
class Show:
    """The stage: what runs, where it is printed, and what went wrong."""

    lab: Lab
    server: Server
    snippets: Snippets
    page: Page
    faults: list[str] = field(default_factory=list)
    number: int = 0
    devbox: str = ""

    def step(self, title: str) -> None:
        self.number += 1
        self.page.line()
        self.page.line(self.page.styled(f"{self.number:2}.  {title}", "bold"))

    def python(self, code: str) -> str:
        """Run and print a snippet."""
        self.page.block(code, "cyan")
        try:
            said = self.snippets.run(code)
        except SnippetFailed as error:
            self.fault(str(error))
            return ""
        self.page.block(said)
        return said

    def command(self, *arguments: str) -> str:
        """Run and print a `stockade` command."""
        shown = shlex.join(("stockade", *arguments))
        self.page.block(f"$ {shown}", "cyan")
        done = self.lab.exec_host(
            (COMMAND, *arguments), env=self.server.variables(), timeout=60
        )
        self.page.block(done.stdout)
        self.page.block(done.stderr, "dim")
        if done.returncode:
            self.fault(f"exit status {done.returncode}")
        return done.stdout + done.stderr

    def expect(self, what: str, *, holds: bool) -> None:
        if not holds:
            self.fault(what)

    def fault(self, text: str) -> None:
        self.faults.append(f"{self.number}: {text}")
        self.page.block(f"NOT AS EXPECTED: {text}", "red")

    def visit(self, url: str, *, allowed: bool) -> None:
        """Let the devbox ask for *url*; the lab decides whether it got out."""
        name = url.split("/")[2]
        mark, before = self.lab.mark(), self.lab.packets()
        said = self.python(_TRY.format(url=url))
        saw = self.lab.seen(since=mark, kind="tls", name=name)
        packets = (self.lab.packets() - before).total()
        if allowed:
            self.page.block(f"the lab saw  TLS for {name}", "green")
            self.expect(f"no hello from {name}", holds=f"hello from {name}" in said)
            self.expect(f"the lab saw nothing for {name}", holds=bool(saw))
        else:
            self.page.block(f"the lab saw  {packets} packets", "green")
            self.expect("curl says 35, a TLS alert", holds=said.startswith("35"))
            self.expect(f"{packets} packets left", holds=packets == 0)


def _begin(show: Show) -> None:
    show.step("A policy and a devbox, with the official client")
    said = show.python(_CREATE).split()
    if len(said) == 2:
        show.devbox = said[1]


def _requests(show: Show) -> None:
    show.step("A host that is allowed")
    show.visit(_GITHUB, allowed=True)
    show.step("A host that is not")
    show.visit(_OPENAI, allowed=False)


def _update(show: Show) -> None:
    show.step("The policy is changed while the devbox runs: both flip")
    show.python(_UPDATE)
    show.visit(_GITHUB, allowed=False)
    show.visit(_OPENAI, allowed=True)


def _wait(show: Show) -> None:
    show.step("From the command line; returns when it is in force everywhere")
    said = show.command(
        *("policy", "update", "production-policy", "--wait"),
        *("--allow", "github.com", "--allow", "api.openai.com"),
    )
    show.expect("no word of it", holds="is in force in 1 devboxes" in said)
    said = show.command("devbox", "exec", show.devbox, "curl", "-sS", _GITHUB)
    show.expect("github.com is denied", holds="hello from github.com" in said)


def _refused(show: Show) -> None:
    show.step("A policy in use cannot be deleted")
    said = show.python(_DELETE)
    show.expect("it does not name the devbox", holds=show.devbox in said)


def _clean(show: Show) -> None:
    show.step("Cleaning up")
    said = show.python(_CLEAN)
    show.expect("something is left", holds=said.split() == ["shutdown", "0"])


STEPS: Final[tuple[Callable[[Show], None], ...]] = (
    _begin,
    _requests,
    _update,
    _wait,
    _refused,
    _clean,
)


def main() -> int:
    """Start the server, go through the steps, and say how it went."""
    page = Page()
    if os.geteuid() != 0:
        page.line("The demo makes network namespaces: run it as root (sudo make demo).")
        return 2
    page.line("The default image is made once, with the network of this machine …")
    try:
        build_default_image()
    except (RuntimeError, OSError) as error:
        page.line(str(error))
        return 1
    began = time.monotonic()
    with Lab() as lab:
        add_names(lab)
        with Server(lab, environ=lab.trust()) as server:
            page.line(f"stockade serve is at {server.url}, in a small internet.")
            with Snippets(server.variables(), lab) as snippets:
                show = Show(lab, server, snippets, page)
                for step in STEPS:
                    step(show)
            status = server.stop()
            show.expect(f"the server ended with status {status}", holds=status == 0)
    page.line()
    seconds = time.monotonic() - began
    text = f"{len(show.faults)} faults" if show.faults else "all as expected"
    colour = "red" if show.faults else "green"
    page.line(page.styled(f"{text}, {seconds:.1f} s", colour))
    return 1 if show.faults else 0


if __name__ == "__main__":
    sys.exit(main())
