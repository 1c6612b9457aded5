"""What the fuzzer says of its runs is read, added up, and told in the documents."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fuzz import results
from fuzz.catalog import TARGETS
from fuzz.results import BEGIN, END, Result, add_to_totals, merge_totals, read_log

DONE = """
#1024 pulse  cov: 80 ft: 190 corp: 40/1000b exec/s: 512
#2000 DONE   cov: 81 ft: 200 corp: 45/1100b exec/s: 400
stat::number_of_executed_units: 2000
stat::average_exec_per_sec:     400
stat::new_units_added:          5
"""
CRASHED = """
 === Uncaught Python exception: ===
Finding: names: 'a.test'
Traceback (most recent call last):
artifact_prefix='x-'; Test unit written to x-crash-1
stat::number_of_executed_units: 70
"""
DAY, NEXT = "2026-01-01", "2026-01-02"


def ran(target: str = "names", inputs: int = 5, problem: str = "") -> Result:
    return Result(target, inputs, 1, 1, 0, None, problem)


def test_a_run_that_is_done_is_read() -> None:
    assert read_log("names", DONE, 0) == Result("names", 2_000, 400, 81, 5, None)


def test_a_run_with_a_finding_counts_its_inputs() -> None:
    result = read_log("names", CRASHED, 77)
    assert (result.inputs, result.crash) == (70, "x-crash-1")
    assert result.problem == "Finding: names: 'a.test'"
    assert result.has_finding


def test_a_run_that_was_ended_is_no_finding() -> None:
    log = f"==7== libFuzzer: run interrupted; exiting\n{DONE}"
    assert not read_log("names", log, 72).has_finding
    assert read_log("names", log, 72).inputs == 2_000
    assert read_log("names", log + CRASHED, 72).has_finding


def test_a_run_that_said_nothing_is_a_problem() -> None:
    assert read_log("names", "", 1).has_finding


def test_runs_add_up(tmp_path: Path) -> None:
    totals = tmp_path / "totals.json"
    add_to_totals([ran(), ran("policy", 7)], DAY, totals)
    add_to_totals([ran(inputs=6, problem="Finding: x")], DAY, totals)
    add_to_totals([ran(inputs=1_000)], NEXT, totals)
    assert json.loads(totals.read_text())[DAY] == {
        "names": {"inputs": 11, "findings": 1},
        "policy": {"inputs": 7, "findings": 0},
    }
    rows = [line.split("|")[1:-1] for line in results.render_totals(totals).split("\n")]
    assert [[cell.strip() for cell in row] for row in rows[2:]] == [
        ["`names`", "1,011", "1", NEXT],
        ["`policy`", "7", "0", DAY],
    ]
    assert results.inputs_of("names", totals) == 1_011
    assert results.inputs_of("control", totals) == 0


def test_runs_that_end_at_once_are_all_counted(tmp_path: Path) -> None:
    totals = tmp_path / "totals.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: add_to_totals([ran()], DAY, totals), range(40)))
    assert json.loads(totals.read_text())[DAY]["names"]["inputs"] == 200
    assert [path.name for path in tmp_path.iterdir()] == ["totals.json"]


def test_the_table_is_written_with_the_totals(tmp_path: Path) -> None:
    totals, docs = tmp_path / "totals.json", tmp_path / "fuzzing.md"
    docs.write_text(f"before\n{BEGIN}old\n{END}after\n")
    merge_totals({DAY: {"names": {"inputs": 5, "findings": 0}}}, totals, docs)
    table = results.render_totals(totals)
    assert docs.read_text() == f"before\n{BEGIN}\n{table}\n\n{END}after\n"


def test_a_document_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        results.with_totals(f"{BEGIN} and no end", "")


def test_the_document_tells_the_totals() -> None:
    text = results.DOCS.read_text()
    assert results.with_totals(text, results.render_totals()) == text
    _, _, table = text.partition(BEGIN)
    for target in TARGETS:
        assert f"| `{target}` " in table.partition(END)[0]
