"""What the documents say exists: tests, options, settings, reasons, files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from stockade.cli.main import cli
from stockade.config import Settings
from stockade.gateway.flowlog import FlowRecord
from stockade.policy.decide import Reason
from stockade.policy.model import NetworkPolicy

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(#[^)]*)?\)")


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(document: str, columns: int) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables that have *columns* columns."""
    for line in document.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if (
            line.startswith("|")
            and len(cells) == columns
            and not line.startswith("| ---")
        ):
            yield cells


def first_cells(document: str, heading: str) -> set[str]:
    """Return what stands in back-ticks in the first column below *heading*."""
    section = document.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    names: set[str] = set()
    for line in section.splitlines():
        if line.startswith("|"):
            names |= set(re.findall(r"`([^`]+)`", line.split("|")[1]))
    return names


GUARANTEES = [row for row in rows(text("guarantees.md"), 3) if row[0] != "claim"]


@pytest.mark.parametrize("row", GUARANTEES, ids=lambda row: row[0][:60])
def test_each_guarantee_names_its_tests_or_says_pending(row: list[str]) -> None:
    claim, _, named = row
    if named == "pending":
        return
    tests = re.findall(r"`([^`]+)`", named)
    assert tests, f"{claim}: neither tests in back-ticks nor pending"
    for test in tests:
        file, _, function = test.partition("::")
        path = ROOT / "tests" / file
        assert path.is_file(), f"{claim}: there is no tests/{file}"
        assert not function or function in functions(path), f"{claim}: {test}"


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_there_are_guarantees() -> None:
    assert len(GUARANTEES) > 20


def test_every_reason_is_explained() -> None:
    assert first_cells(text("policy.md"), "Reasons") == {r.value for r in Reason}


def test_every_field_of_a_policy_is_explained() -> None:
    documented = first_cells(text("policy.md"), "A policy")
    assert documented == {field.name for field in fields(NetworkPolicy)}


def test_every_field_of_a_flow_record_is_explained() -> None:
    documented = first_cells(text("policy.md"), "Flow records")
    assert documented == set(FlowRecord._fields)


def test_every_setting_is_explained() -> None:
    document = "## Keys\n" + text("configuration.md").partition("\n## ")[0]
    assert first_cells(document, "Keys") == {field.name for field in fields(Settings)}


def commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command a person may call, by its full name."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from commands(found, (*path, name))
    else:
        yield " ".join(path), command


def test_every_command_and_option_is_explained() -> None:
    document = text("cli.md")
    for name, command in commands(cli):
        assert f"## `stockade {name}" in document, name
        section = document.partition(f"## `stockade {name}")[2].partition("\n## ")[0]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                named = (*parameter.opts, *parameter.secondary_opts)
                missing = [opt for opt in named if f"`{opt}" not in section]
                assert missing == [], f"stockade {name}"


def test_no_option_is_explained_that_does_not_exist() -> None:
    document = text("cli.md")
    known = {
        f"{name} {option}"
        for name, command in commands(cli)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for section in document.split("\n## ")[1:]:
        heading = re.match(r"`stockade ([a-z ]+?)(?: [-\[A-Z].*)?`", section)
        for line in section.splitlines() if heading else ():
            if line.startswith("| `-"):
                for option in re.findall(r"`(-[-a-z]*)", line.split("|")[1]):
                    assert f"{heading[1]} {option}" in known if heading else False


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = [match[1] for match in LINK.finditer(path.read_text(encoding="utf-8"))]
    assert [t for t in targets if not (path.parent / t).exists()] == []


def test_the_architecture_names_every_part() -> None:
    listed = first_cells(text("architecture.md"), "Where things are")
    package = ROOT / "src" / "stockade"
    parts = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in package.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert listed == parts - {"__init__.py", "__main__.py"}
