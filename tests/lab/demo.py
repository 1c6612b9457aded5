"""Shows Stockade at work: `python -m tests.lab.demo`, or `make demo`.

Brings up a lab, runs `stockade` in it some times, and shows for each run what the
command printed and what the lab saw of it. Ends with a table, and with status 1 if
anything was not as expected.
"""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.lab.demo_scenes import POLICY, SCENES, Scene, add_names
from tests.lab.lab import Lab
from tests.lab.record import Entry, Kind
from tests.lab.stockade import COMMAND, Run, build_default_image, read_flows
from tests.lab.witness import Destination, matching

_MAX_LINES: Final = 12
_WIDTH: Final = 90
_INDENT: Final = "     "
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scene; *faults* says where that is not what was expected."""

    scene: Scene
    run: Run
    packets: Counter[Destination]
    seconds: float
    faults: tuple[str, ...]


class Page:
    """Prints; in colour if the reader sees colours."""

    def __init__(self) -> None:
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def styled(self, text: str, style: str) -> str:
        """*text* in a style, or as it is."""
        return f"\033[{_STYLES[style]}m{text}\033[0m" if self._coloured else text

    def line(self, text: str = "") -> None:
        """One line, at once."""
        print(text, flush=True)

    def block(self, text: str, style: str | None = None) -> None:
        """Output of a command, indented; the middle of long output is left out."""
        lines = [
            piece
            for line in text.rstrip().splitlines()
            for piece in textwrap.wrap(line, _WIDTH, subsequent_indent="  ")
        ]
        if len(lines) > _MAX_LINES:
            left = len(lines) - _MAX_LINES + 1
            lines[_MAX_LINES - 3 : -2] = [f"… {left} more lines …"]
        for line in lines:
            self.line(_INDENT + (self.styled(line, style) if style else line))


def perform(lab: Lab, scene: Scene, number: int) -> Outcome:
    """Run one scene and compare it with what it should be."""
    flows = lab.directory / f"demo-{number}.jsonl"
    argv = [COMMAND, *scene.args_with(lab.directory / "policy.toml")]
    if scene.args[0] == "run":
        argv[2:2] = ["--flows", str(flows)]
    mark, before = lab.mark(), lab.packets()
    began = time.monotonic()
    done = lab.exec_host(argv, timeout=60)
    seconds = time.monotonic() - began
    run = Run(
        tuple(argv),
        done.returncode,
        done.stdout,
        done.stderr,
        read_flows(flows),
        lab.since(mark),
    )
    packets = lab.packets() - before
    return Outcome(scene, run, packets, seconds, tuple(_faults(scene, run, packets)))


def _faults(scene: Scene, run: Run, packets: Counter[Destination]) -> Iterable[str]:
    output = run.stdout + run.stderr
    if scene.status not in (None, run.returncode):
        yield f"exit status {run.returncode}, not {scene.status}"
    for text in scene.says:
        if text not in output:
            yield f"the output does not say {text!r}"
    for name in scene.reached:
        if not run.saw(name=name, kind="tls") and not run.saw(name=name, kind="http"):
            yield f"the lab saw no connection for {name}"
    for address in scene.touched:
        if not matching(packets, address=address, protocol="tcp"):
            yield f"no packet reached {address}"
    for address in scene.untouched:
        if matching(packets, address=address):
            yield f"packets reached {address}"
    if scene.silent and packets:
        yield f"packets left: {dict(packets)}"
    reasons = {flow["reason"] for flow in run.flows if flow["verdict"] == "deny"}
    if scene.reason and not reasons & set(scene.reason):
        yield f"denied for {reasons or 'no reason'}, not {' or '.join(scene.reason)}"


def seen(outcome: Outcome) -> str:
    """What the lab saw, in a line."""
    if not outcome.packets:
        return "nothing: no question, no connection, not one packet"
    texts = [_text(entry) for entry in outcome.run.seen]
    unique = list(dict.fromkeys(text for text in texts if text))
    return " · ".join(unique) or f"{outcome.packets.total()} packets"


def _text(entry: Entry) -> str:
    match entry.kind:
        case Kind.DNS:
            return f"DNS question {entry.name.lower()}"
        case Kind.TLS:
            return f"TLS for {entry.name or '(no name)'} at {entry.address}"
        case Kind.HTTP:
            return f"{entry.detail['method']} {entry.detail['path']}"
        case Kind.TCP if entry.bytes_out and entry.data[:2] != b"\x16\x03":
            return f"TCP to {entry.address} port {entry.port}"
        case Kind.UDP:
            return f"UDP to {entry.address} port {entry.port}"
        case _:
            return ""


def show(page: Page, number: int, outcome: Outcome) -> None:
    """Print one scene."""
    scene, run = outcome.scene, outcome.run
    page.line()
    page.line(page.styled(f"{number:2}.  {scene.title}", "bold"))
    shown = shlex.join(("stockade", *scene.args))
    page.line(_INDENT + page.styled(f"$ {shown}", "cyan"))
    page.block(run.stdout)
    page.block(run.stderr, "dim")
    if scene.args[0] == "run":
        page.line(f"{_INDENT}the lab saw  {seen(outcome)}")
    for fault in outcome.faults:
        page.line(_INDENT + page.styled(f"NOT AS EXPECTED: {fault}", "red"))


def table(page: Page, outcomes: Sequence[Outcome]) -> None:
    """Print the end of it all."""
    page.line()
    longest = max(len(outcome.scene.title) for outcome in outcomes)
    for number, outcome in enumerate(outcomes, 1):
        good = not outcome.faults
        verdict = "as expected" if good else "NOT AS EXPECTED"
        mark = page.styled(f"{verdict:<16}", "green" if good else "red")
        title = outcome.scene.title.ljust(longest)
        page.line(f"{number:2}.  {title} {mark} {outcome.seconds:5.2f} s")
    wrong = sum(1 for outcome in outcomes if outcome.faults)
    count = len(outcomes)
    text = f"{count - wrong} of {count} as expected"
    page.line()
    page.line(page.styled(text, "red" if wrong else "green"))


def main() -> int:
    """Prepare, perform, and say how it went."""
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
    with Lab() as lab:
        add_names(lab)
        (lab.directory / "policy.toml").write_text(POLICY)
        page.line(
            "A small internet is up. All names and addresses below are in it, and it\n"
            "records each question, connection and packet that reaches it."
        )
        outcomes = []
        for number, scene in enumerate(SCENES, 1):
            outcome = perform(lab, scene, number)
            show(page, number, outcome)
            outcomes.append(outcome)
        table(page, outcomes)
    return 1 if any(outcome.faults for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
