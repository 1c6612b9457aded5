"""The rules of the code base that a machine can check.

Layers import down only, pure modules stay pure, files and functions stay small, and
nothing of one machine gets into the repository.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import words

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "stockade"
SOURCES = sorted(PACKAGE.rglob("*.py"))
ALL_PYTHON = sorted(
    path
    for folder in ("src", "tests", "bench", "scripts", "fuzz")
    for path in (ROOT / folder).rglob("*.py")
)

MAX_FILE_LINES = 300
# Tables of cases are long and read line by line.
MAX_TEST_FILE_LINES = 400
MAX_FUNCTION_LINES = 40

# What each part may import of the others. A part that is not listed fails the test.
_LEAVES = frozenset({"errors"})
_HOST = frozenset({"errors", "names", "policy", "command"})
_AGENT = frozenset(
    "errors names wire policy spec hosting config command gateway host runtime".split()
)
_CONTROL = _LEAVES | {"names", "policy", "spec", "hosting", "config"}
MAY_IMPORT = {
    "errors": frozenset(),
    "names": _LEAVES,
    "command": _LEAVES,
    "wire": _LEAVES,
    "config": _LEAVES | {"names", "policy"},
    "policy": _LEAVES | {"names"},
    "policyfile": _LEAVES | {"names", "policy"},
    "spec": _LEAVES | {"names", "policy"},
    "hosting": _LEAVES | {"spec"},
    "gateway": _LEAVES | {"names", "wire", "policy", "spec"},
    "host": _HOST,
    "runtime": _LEAVES | {"spec", "command", "config"},
    "agent": _AGENT,
    "control": _CONTROL,
    "api": _CONTROL | {"control"},
    "client": frozenset(),
    "doctor": _AGENT | {"policyfile", "agent"},
    "server": _AGENT | {"agent", "control", "api"},
    "cli": _AGENT | {"policyfile", "agent", "doctor", "control", "api", "server"},
    "__main__": frozenset({"cli"}),
}

PURE = sorted(
    path
    for pattern in (
        "names.py",
        "errors.py",
        "spec.py",
        "hosting.py",
        "policy/*.py",
        "wire/*.py",
        "host/slots.py",
        "host/ruleset.py",
        "runtime/bundle.py",
        "runtime/seccomp.py",
    )
    for path in PACKAGE.glob(pattern)
)
# Modules that touch the outside, the clock or chance. `pathlib` is not among them: a
# path is a value. What a path may not do in pure code is in PATH_IO.
IO_MODULES = frozenset(
    "asyncio click concurrent ctypes datetime fcntl glob grp http importlib io logging"
    " mmap multiprocessing os platform pwd random resource rich secrets select"
    " selectors shutil signal socket sqlite3 ssl subprocess sys tempfile threading time"
    " urllib uuid uvloop".split()
)
PATH_IO = frozenset(
    "chmod exists expanduser glob is_dir is_file iterdir mkdir open read_bytes"
    " read_text readlink rename resolve rglob rmdir stat symlink_to touch unlink"
    " write_bytes write_text".split()
)
STARTS_PROCESSES = frozenset(
    {"os.system", "os.popen", "os.posix_spawn", "os.posix_spawnp", "os.startfile"}
    | {f"os.spawn{kind}" for kind in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")}
    | {"asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"}
    | {"pty.spawn"}
)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted module) for every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                # `from stockade import errors` names the module by its last part.
                root_only = node.module == "stockade"
                module = f"{node.module}.{alias.name}" if root_only else node.module
                yield node.lineno, module or "."


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_layers_import_down_only(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        assert list(imports(parse(path))) == []
        return
    allowed = MAY_IMPORT[part] | {part, "__version__"}
    wrong = [
        f"line {line}: {module}"
        for line, module in imports(parse(path))
        if module.startswith("stockade.") and module.split(".")[1] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("path", PURE, ids=label)
def test_pure_modules_do_no_io(path: Path) -> None:
    tree = parse(path)
    wrong = [
        f"line {line}: imports {module}"
        for line, module in imports(tree)
        if module.split(".")[0] in IO_MODULES
    ]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id="open" | "print" | "input" as name):
                wrong.append(f"line {node.lineno}: calls {name}")
            case ast.Attribute(attr=name) if name in PATH_IO:
                wrong.append(f"line {node.lineno}: calls .{name}()")
    assert wrong == []


def test_the_pure_modules_are_found() -> None:
    parts = {part_of(path) for path in PURE}
    pure = "names errors spec hosting policy wire host runtime"
    assert parts == set(pure.split())


@pytest.mark.parametrize("path", ALL_PYTHON, ids=label)
def test_files_are_small_and_say_what_they_are(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    silent = [node.name for node in classes if not ast.get_docstring(node)]
    assert ast.get_docstring(tree), "the module has no docstring"
    assert silent == [], "classes without a docstring"
    lines = source.count("\n")
    is_test = path.is_relative_to(ROOT / "tests")
    assert lines <= (MAX_TEST_FILE_LINES if is_test else MAX_FILE_LINES)


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_functions_are_small(path: Path) -> None:
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := code_lines(node)) > MAX_FUNCTION_LINES
    ]
    assert long == []


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body, without its signature and its docstring."""
    first = node.body[0]
    if ast.get_docstring(node) and len(node.body) > 1:
        first = node.body[1]
    return (node.end_lineno or first.lineno) - first.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_imports_are_absolute_and_hide_no_cycle(path: Path) -> None:
    tree = parse(path)
    wrong = [
        f"line {node.lineno}: relative import"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    wrong += [
        f"line {node.lineno}: TYPE_CHECKING"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "TYPE_CHECKING"
    ]
    assert wrong == []


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_processes_are_started_in_command_only(path: Path) -> None:
    if path == PACKAGE / "command.py":
        return
    tree = parse(path)
    wrong = [
        f"line {line}: imports {module}"
        for line, module in imports(tree)
        if module.split(".")[0] in {"subprocess", "pty"}
    ]
    wrong += [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in STARTS_PROCESSES
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.name == "__init__.py"], ids=label
)
def test_package_files_hold_prose_only(path: Path) -> None:
    statements = parse(path).body[1:]
    if path.parent == PACKAGE:
        statements = [
            node for node in statements if "__version__" not in ast.dump(node)
        ]
    assert [ast.unparse(node) for node in statements] == []


def test_the_repository_names_no_registry_and_no_machine() -> None:
    assert words.offences() == []
