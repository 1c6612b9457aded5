"""What the demo shows, and what must come of each scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.addresses import METADATA4, v4, v6
from tests.lab.lab import Lab

GIT: Final = v4(83)
ATTACKER: Final = v4(66)
_POLICY_FILE: Final = "policy.toml"

POLICY: Final = """\
name = "what a build needs"
allowed_hostnames = ["github.com", "*.github.com"]
"""


def add_names(lab: Lab) -> None:
    """Put the names of the scenes on the lab's internet."""
    names = ("github.com", "*.github.com", "api.openai.com")
    for number, name in enumerate(names, 80):
        lab.set_name(name, a=[v4(number)], aaaa=[v6(number)])
    lab.set_name("git.example", a=[GIT])


@dataclass(frozen=True, slots=True)
class Scene:
    """One command, and what must come of it.

    *says* is in its output; *reached* are names the lab must have seen connections for;
    a packet must have arrived at each of *touched*, none at any of *untouched*, and
    none at all if it is *silent*. *reason*: a flow was denied for one of these.
    """

    title: str
    args: tuple[str, ...]
    status: int | None = None
    says: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    silent: bool = False
    reason: tuple[str, ...] = ()

    def args_with(self, policy: Path) -> tuple[str, ...]:
        """The arguments, with the path of the policy file put in."""
        return tuple(str(policy) if arg == _POLICY_FILE else arg for arg in self.args)


def _run(options: str, *command: str) -> tuple[str, ...]:
    return ("run", *options.split(), "--", *command)


SCENES: Final = (
    Scene(
        "A host that is allowed",
        _run("--allow github.com", "curl", "-sS", "https://github.com/hello"),
        status=0,
        says=("hello from github.com",),
        reached=("github.com",),
    ),
    Scene(
        "A host that is not",
        _run("", "curl", "-sS", "https://api.openai.com/hello"),
        status=35,  # curl: a TLS alert
        says=("api.openai.com",),
        silent=True,
        reason=("hostname_not_allowed",),
    ),
    Scene(
        "The same without TLS: the denial says why",
        _run("--allow github.com", "curl", "-sS", "http://api.openai.com/hello"),
        status=0,
        says=("network_policy_denied", "hostname_not_allowed"),
        silent=True,
        reason=("hostname_not_allowed",),
    ),
    Scene(
        "A wildcard covers what is below a name",
        _run("--allow *.github.com", "curl", "-sS", "https://api.github.com/hello"),
        status=0,
        says=("hello from api.github.com",),
        reached=("api.github.com",),
    ),
    Scene(
        "… and not the name itself",
        _run("--allow *.github.com", "curl", "-sS", "https://github.com/hello"),
        status=35,
        silent=True,
        reason=("hostname_not_allowed",),
    ),
    Scene(
        "An address without a name",
        _run("--allow github.com", "curl", "-sSk", f"https://{ATTACKER}/hello"),
        silent=True,
        reason=("tls_without_name", "address_not_allowed"),
    ),
    Scene(
        "An allowed name with a false address: it goes to the name",
        _run(
            "--allow github.com",
            *("curl", "-sS", "--connect-to", f"github.com:443:{ATTACKER}:443"),
            "https://github.com/hello",
        ),
        status=0,
        says=("hello from github.com",),
        reached=("github.com",),
        untouched=(ATTACKER,),
    ),
    Scene(
        "A server that speaks first, as ssh does, allowed",
        _run("--allow git.example", "bash", "-c", "head -1 < /dev/tcp/git.example/22"),
        status=0,
        says=("SSH-2.0-Lab",),
        touched=(GIT,),
    ),
    Scene(
        "… and denied: one line instead of the banner",
        _run("--allow github.com", "bash", "-c", "head -1 < /dev/tcp/git.example/22"),
        says=("stockade: git.example is not reachable",),
        silent=True,
        reason=("hostname_not_allowed",),
    ),
    Scene(
        "A secret in a DNS question, asked of a resolver outside",
        _run("--allow github.com", "dig", "+short", "@8.8.8.8", "secret.x.test"),
        status=0,
        says=("secret.x.test",),  # in the summary
        silent=True,
        reason=("hostname_not_allowed",),
    ),
    Scene(
        "Cloud metadata, with everything allowed",
        _run("--allow-all", "curl", "-sS", "-m", "5", f"http://{METADATA4}/latest/"),
        silent=True,
        reason=("guardrail_metadata", "guardrail_link_local"),
    ),
    Scene(
        "What a policy file would decide, without running anything",
        (
            *("policy", "test", "--policy", _POLICY_FILE),
            *("https://api.github.com", "https://github.com.evil.example"),
        ),
        status=1,
        says=("allow  https://api.github.com", "deny   https://github.com.evil"),
    ),
)
