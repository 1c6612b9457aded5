"""Runs the `stockade` command in a lab, and brings back everything that is known of
it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.lab.lab import Lab
from tests.lab.record import Entry

# The console script beside the interpreter: the one that was installed with it.
COMMAND: Final = str(Path(sys.executable).with_name("stockade"))

_number = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Run:
    """One finished `stockade run`: its result, its flow records, what the lab saw."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    flows: tuple[Mapping[str, Any], ...]
    seen: tuple[Entry, ...]

    def flow(self, **wanted: object) -> Mapping[str, Any]:
        """The first flow record whose fields have these values."""
        for flow in self.flows:
            if all(flow.get(key) == value for key, value in wanted.items()):
                return flow
        raise LookupError(f"no flow with {wanted} among {self.flows}\n{self.stderr}")

    def saw(self, **wanted: Any) -> tuple[Entry, ...]:
        """What the lab saw meanwhile, by kind, address, port, name, side."""
        return tuple(entry for entry in self.seen if entry.is_about(**wanted))


class Stockade:
    """`stockade run` in the host namespace of one lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def options(self, policy: str | Mapping[str, Any] | Path | None) -> list[str]:
        """The arguments that stand for *policy*.

        None is deny-all; "all" is allow-all; other text is a list of host names; a
        mapping is a policy file's content; a path is such a file.
        """
        if policy is None:
            return []
        if policy == "all":
            return ["--allow-all"]
        if isinstance(policy, str):
            return [word for name in policy.split() for word in ("--allow", name)]
        if isinstance(policy, Mapping):
            policy = self._write(policy)
        return ["--policy", str(policy)]

    def _write(self, policy: Mapping[str, Any]) -> Path:
        path = self.lab.directory / f"policy-{next(_number)}.toml"
        path.write_text(to_toml(policy))
        return path

    def argv(
        self,
        *args: str,
        policy: str | Mapping[str, Any] | Path | None = None,
        flows: Path | None = None,
    ) -> tuple[str, ...]:
        """The command line; *args* are options, `--` and the command."""
        own = ["--flows", str(flows)] if flows else []
        return (COMMAND, "run", *own, *self.options(policy), *args)

    def run(
        self,
        *args: str,
        policy: str | Mapping[str, Any] | Path | None = None,
        timeout: float = 60.0,
        input: str | None = None,  # noqa: A002 - the name subprocess uses
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Run to the end: `stockade.run("--", "curl", …, policy="a.test *.w.test")`."""
        flows = self.lab.directory / f"flows-{next(_number)}.jsonl"
        argv = self.argv(*args, policy=policy, flows=flows)
        mark = self.lab.mark()
        done = self.lab.exec_host(argv, input=input, timeout=timeout, env=env)
        return Run(
            argv,
            done.returncode,
            done.stdout,
            done.stderr,
            read_flows(flows),
            self.lab.since(mark),
        )

    def popen(
        self,
        *args: str,
        policy: str | Mapping[str, Any] | Path | None = None,
        flows: Path | None = None,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start it and return at once."""
        argv = self.argv(*args, policy=policy, flows=flows)
        return self.lab.popen_host(argv, env=env, **options)

    def __call__(
        self, *args: str, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run any other subcommand: `stockade("policy", "test", …)`."""
        return self.lab.exec_host((COMMAND, *args), timeout=timeout)


def read_flows(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The records that `--flows` wrote; none if it did not come to that."""
    if not path.exists():
        return ()
    return tuple(json.loads(line) for line in path.read_text().splitlines())


def build_default_image() -> None:
    """Have the default image ready, made with the network of the machine itself.

    Inside a lab there is no package archive. Costs one short run when it is there.
    """
    done = subprocess.run(
        (COMMAND, "run", "--", "true"),
        stdin=subprocess.DEVNULL,
        stderr=None if sys.stderr.isatty() else subprocess.PIPE,
        check=False,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"`stockade run -- true` failed: {done.stderr or ''}")


def to_toml(policy: Mapping[str, Any]) -> str:
    """A policy file. Inline tables throughout, so that the order of keys is free."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in policy.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_value(item) for item in value)}]"
    # A TOML basic string and a JSON string escape alike.
    return json.dumps(value)
