"""Judges a policy file, with the line each entry stands on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from stockade.cli.lint import CidrEntry, Finding, HostEntry, lint
from stockade.names import HostPattern
from stockade.policy.model import AllowedCidr
from stockade.policyfile import load_policy

# A TOML string or a comment: whichever starts first hides the other.
_TOKEN = re.compile(
    r'#[^\n]*|"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
)


def lint_file(path: Path) -> list[Finding]:
    """Judge the policy in the file *path*. Raises `InvalidRequest` if there is none."""
    loaded = load_policy(path)
    text = path.read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    hosts = raw.get("allowed_hostnames") or []
    cidrs = raw.get("allowed_cidrs") or []
    host_lines = lines_of(text, "allowed_hostnames", hosts)
    cidr_lines = lines_of(text, "allowed_cidrs", [entry["cidr"] for entry in cidrs])
    return lint(
        loaded,
        [
            HostEntry(HostPattern.parse(entry), line)
            for entry, line in zip(hosts, host_lines, strict=True)
        ],
        [
            CidrEntry(AllowedCidr.from_mapping(entry, "allowed_cidrs"), line)
            for entry, line in zip(cidrs, cidr_lines, strict=True)
        ],
    )


def lines_of(text: str, field: str, entries: Sequence[str]) -> list[int]:
    """Return the line of each of *entries*, which stand in this order in *field*.

    The TOML parser of the standard library keeps no positions, so the strings are found
    again. One written with escapes is placed on the line of its field.
    """
    start = re.search(rf"^\s*(?:\[\[)?\s*{field}\b", text, re.MULTILINE)
    offset = start.end() if start else 0
    fallback = text.count("\n", 0, offset) + 1
    tokens = _strings(text, offset)
    lines = []
    for entry in entries:
        line = next((number for number, value in tokens if value == entry), None)
        if line is None:
            tokens = _strings(text, offset)
        lines.append(fallback if line is None else line)
    return lines


def _strings(text: str, offset: int) -> Iterator[tuple[int, str]]:
    """Yield (line, contents) of each string of *text* from *offset* on."""
    for match in _TOKEN.finditer(text, offset):
        if not match[0].startswith("#"):
            yield text.count("\n", 0, match.start()) + 1, match[0].strip("\"'")
