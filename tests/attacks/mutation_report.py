"""What the mutation check found, as a table and as a list of what is not proven."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.attacks.mutants import MUTANTS

#: Tests in which nothing is denied: they show that what is allowed works.
CONTROLS: Final = re.compile(
    r"test_spellings_of_allowed_names_are_allowed"
    r"|test_allowed_names_are_answered"
    r"|test_long_answers_come_by_tcp"
    r"|test_a_verified_upgrade_is_opaque"
    r"|test_addresses_stay_good_after_their_time_to_live"
    r"|test_every_transfer_arrives_whole"
    r"|test_every_client_gets_what_it_came_for"
    r"|test_urgent_data_stops_no_stream"
    r"|test_forged_packets_to_what_is_allowed_break_nothing"
    r"|test_a_server_that_speaks_first_is_not_kept_waiting"
    r"|test_the_truth_is_waited_for\[(good|slow)"
    r"|test_connections_of_one_devbox_are_capped\[modest"
    r"|test_devboxes_do_not_notice_that_their_agent_does_not_run"
)
#: Tests that need no gateway to allow anything, with what stands for the control.
WITHOUT_GATEWAY: Final[Sequence[tuple[str, str]]] = (
    (r"lab_would_have_seen", "is itself the control of the witness"),
    (r"abstract_sockets", "the same requests outside a devbox are the control"),
    (r"look_at_the_clock", "reads the source; a source that does is the control"),
)


@dataclass(frozen=True, slots=True)
class Proof:
    """One test, the mutants that kill it, and all that were tried."""

    test: str
    killed: frozenset[str]
    tried: Collection[str]

    @property
    def case(self) -> str:
        """File, function and parameters."""
        return self.test.removeprefix("tests/attacks/")

    @property
    def function(self) -> str:
        """File and function, without parameters."""
        return self.case.partition("[")[0]

    @property
    def file(self) -> str:
        """The file."""
        return self.case.partition("::")[0]

    @property
    def problem(self) -> str | None:
        """What keeps the test from being proven, or None."""
        if not self.tried:
            return "was not run"
        if "none" in self.killed:
            return "fails with nothing missing"
        excused = any(re.search(pattern, self.test) for pattern, _ in WITHOUT_GATEWAY)
        if not self.killed and not excused:
            return f"nothing kills it; tried: {', '.join(sorted(self.tried))}"
        is_control = CONTROLS.search(self.test)
        if self.killed <= {"deny"} and not is_control and not excused:
            return "only a gateway that denies everything kills it"
        return None


def verdicts(proofs: Iterable[Proof]) -> list[str]:
    """The tests that are not proven, a line each."""
    return [f"{proof.test}: {proof.problem}" for proof in proofs if proof.problem]


def render(proofs: Sequence[Proof]) -> str:
    """The document."""
    lines = [HEAD]
    lines += [f"| `{name}` | {mutant.says} |" for name, mutant in MUTANTS.items()]
    lines += ["", FILES]
    for file, there in _grouped(proofs, lambda proof: proof.file).items():
        open_ = sum(proof.problem is not None for proof in there)
        lines.append(f"| `{file}` | {len(there)} | {_counted(there)} | {open_ or ''} |")
    lines += ["", TESTS]
    for function, cases in _grouped(proofs, lambda proof: proof.function).items():
        killed = frozenset().union(*(case.killed for case in cases))
        names = [f"`{name}`" for name in MUTANTS if name in killed]
        said = ", ".join(names) or _excuse(function)
        lines.append(f"| `{function}` | {len(cases)} | {said} |")
    lines += ["", "## Not proven", ""]
    lines += [f"- `{p.case}`: {p.problem}" for p in proofs if p.problem] or ["Nothing."]
    return "\n".join([*lines, ""])


def _grouped(
    proofs: Iterable[Proof], key: Callable[[Proof], str]
) -> dict[str, list[Proof]]:
    groups: dict[str, list[Proof]] = {}
    for proof in proofs:
        groups.setdefault(key(proof), []).append(proof)
    return groups


def _counted(proofs: Iterable[Proof]) -> str:
    """How many of *proofs* each mutant kills."""
    kills = Counter(name for proof in proofs for name in proof.killed)
    return ", ".join(f"`{name}` {kills[name]}" for name in MUTANTS if name in kills)


def _excuse(function: str) -> str:
    for pattern, reason in WITHOUT_GATEWAY:
        if re.search(pattern, function):
            return reason
    return "**nothing**"


HEAD: Final = """\
# Mutation check

Written by `make mutation` (`python -m tests.attacks.mutation --write-docs`): each test of
`tests/attacks` is run against a Stockade that lacks something, and has to fail. A test
that does not fail under any of them could not fail at all.

With every decision forced to *allow*, denials have to fail; with every decision forced to
*deny*, controls. What is denied by something else than the decision (structure, a strict
parser, a limit) is tried without that, until something kills it. A mutant has to leave
`test_ordinary.py` as it is: one that breaks what is ordinary would kill anything. The
tests put these changes into the processes they start; the product has no switch for them.

## What is missing

| name | the Stockade under test |
| --- | --- |"""
FILES: Final = """\
## Files

How many cases each mutant kills. No further one is tried on a test once it is proven: by
something else than *deny*, unless nothing is denied in it.

| file | cases | killed by | not proven |
| --- | --- | --- | --- |"""
TESTS: Final = """\
## Tests

| test | cases | killed by |
| --- | --- | --- |"""
