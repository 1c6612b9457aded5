"""The mutation check: its mutants change what is there, its document is what it says."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.attacks.mutants import MUTANTS
from tests.attacks.mutation_report import Proof, render, verdicts

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests" / "attacks"
DOCUMENT = ROOT / "docs" / "mutation.md"


def copy_of(name: str) -> ModuleType:
    """A module of its own: the one that everybody else has stays as it is."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    importlib.import_module(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contents(module: ModuleType) -> dict[str, object]:
    """What a module has, and what its classes have."""
    found: dict[str, object] = {}
    for name, value in vars(module).items():
        found[name] = value
        if isinstance(value, type) and value.__module__ == module.__name__:
            found |= {f"{name}.{key}": inner for key, inner in vars(value).items()}
    return found


@pytest.mark.parametrize(
    ("mutant", "module"),
    [(name, module) for name, one in MUTANTS.items() for module in one.patches],
)
def test_a_mutant_changes_something_that_is_there(mutant: str, module: str) -> None:
    """A function that was renamed would be replaced by nobody, and nothing be tried."""
    changed = copy_of(module)
    before = contents(changed)
    MUTANTS[mutant].patches[module](changed)
    after = contents(changed)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] is not before[name]]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_tried_on_some_file(mutant: str) -> None:
    files = [path.name for path in SUITE.glob("test_*.py")]
    assert [name for name in files if re.search(MUTANTS[mutant].where, name)]


@pytest.mark.parametrize(
    ("test", "killed", "problem"),
    [
        ("test_x.py::test_denied[1]", {"allow", "deny"}, None),
        ("test_x.py::test_denied", {"limits"}, None),
        ("test_x.py::test_denied", {"deny"}, "only a gateway that denies"),
        ("test_x.py::test_denied", {"none", "allow"}, "fails with nothing missing"),
        ("test_x.py::test_denied", set(), "nothing kills it; tried: allow, deny"),
        ("test_x.py::test_every_transfer_arrives_whole", {"deny"}, None),
        ("test_x.py::test_the_lab_would_have_seen_it", set(), None),
    ],
)
def test_what_counts_as_proven(
    test: str, killed: set[str], problem: str | None
) -> None:
    proof = Proof(f"tests/attacks/{test}", frozenset(killed), {"allow", "deny"})
    found = verdicts([proof])
    assert len(found) == (problem is not None)
    assert problem is None or found[0].startswith(f"tests/attacks/{test}: {problem}")
    assert (f"- `{test}`: {problem or ''}" in render([proof])) == bool(found)


def test_what_was_not_run_is_not_proven() -> None:
    proof = Proof("tests/attacks/test_x.py::*", frozenset(), set())
    assert verdicts([proof]) == ["tests/attacks/test_x.py::*: was not run"]


def section(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below *heading*, without its head."""
    below = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        line.strip("|").split("|") for line in below.splitlines() if line[:1] == "|"
    ]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_document_is_what_the_check_writes() -> None:
    """By its form: the same mutants, and sums that agree, about tests that exist."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.startswith(render([]).partition("| `")[0])
    said = [(name.strip("`"), what) for name, what in section(text, "What is missing")]
    assert said == [(name, mutant.says) for name, mutant in MUTANTS.items()]
    cases: dict[str, int] = {}
    for test, count, _ in section(text, "Tests"):
        file, _, function = test.strip("`").partition("::")
        assert function in {"*", *functions(SUITE / file)}, test
        cases[f"`{file}`"] = cases.get(f"`{file}`", 0) + int(count)
    files = section(text, "Files")
    assert cases == {file: int(count) for file, count, _, _ in files}
    problems = text.partition("\n## Not proven\n")[2]
    assert sum(int(open_ or 0) for *_, open_ in files) == problems.count("\n- ")


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
