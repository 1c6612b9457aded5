"""The ruleset against its golden files, and against nft itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stockade.host import ruleset
from stockade.host.slots import Slot

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
RENDERED = {
    "gateway.nft": ruleset.render_base(),
    "lanes.nft": ruleset.render_base(4),
    "slot.nft": ruleset.render_slot(Slot(7)),
    "slot_removed.nft": ruleset.render_slot_removed(Slot(7)),
    "repair.nft": ruleset.render_all({Slot(9), Slot(7)}),
}


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_the_ruleset_reads_as_it_was_reviewed(name):
    assert RENDERED[name] == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_nft_takes_it(name):
    # A user namespace makes this possible without privilege.
    argv = ["unshare", "--user", "--map-root-user", "--net"]
    if (
        not shutil.which("nft")
        or subprocess.run([*argv, "true"], check=False).returncode
    ):
        pytest.skip("needs nft, and user namespaces")
    alone = name in ("gateway.nft", "lanes.nft", "repair.nft")
    text = ("" if alone else RENDERED["gateway.nft"]) + RENDERED[name]
    done = subprocess.run(
        [*argv, "nft", "-c", "-f", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_added_for_a_slot_is_what_read_back_expects():
    slot = Slot(7)
    for name, pairs in ruleset.expected([slot]).items():
        ((interface, address),) = pairs
        element = f"{name} {{ {interface} . {address} }}"
        assert f"add element inet stockade {element}\n" in ruleset.render_slot(slot)
        assert f"delete element inet stockade {element}\n" in (
            ruleset.render_slot_removed(slot)
        )


def test_without_slots_nobody_is_let_in():
    assert set(ruleset.expected([]).values()) == {frozenset()}


def test_every_hook_drops_by_default():
    hooks = [line for line in ruleset.render_base().splitlines() if " hook " in line]
    assert len(hooks) == 4
    assert all(line.endswith("policy drop;") for line in hooks)


def test_the_mark_is_cleared_before_anything_is_let_in():
    lines = [line.strip() for line in ruleset.render_base().splitlines()]
    first = lines.index("chain identity {") + 2
    assert lines[first] == "meta mark set 0"
    assert "accept" not in "".join(lines[:first])
