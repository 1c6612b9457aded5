"""The fixture `stockade` brings back result, flow records and what the lab saw."""

from __future__ import annotations

import pytest

from tests.lab.addresses import v4

pytestmark = pytest.mark.root


def test_an_allowed_request_is_on_both_records(stockade):
    run = stockade.run("--", "curl", "-sS", "http://a.test/hello", policy="a.test")

    assert (run.returncode, run.stdout) == (0, "hello from a.test\n")
    flow = run.flow(kind="http", name="a.test", verdict="allow")
    (tcp,) = run.saw(kind="tcp")
    assert flow["bytes_up"] == tcp.bytes_in
    assert flow["bytes_down"] == tcp.bytes_out
    assert run.saw(kind="http", name="a.test")
    assert run.saw(kind="dns", name="a.test")


def test_a_denied_request_is_on_one(stockade):
    run = stockade.run("-q", "--", "curl", "-sS", "http://a.test/hello", policy=None)

    assert run.flow(kind="http", verdict="deny")["reason"] == "hostname_not_allowed"
    assert run.seen == ()


@pytest.mark.parametrize(
    ("policy", "reached"),
    [
        ("all", True),
        ({"name": "one", "allowed_cidrs": [{"cidr": f"{v4(13)}/32"}]}, True),
        ({"name": "one", "allowed_cidrs": [{"cidr": f"{v4(14)}/32"}]}, False),
        ("a.test b.test", False),
    ],
)
def test_a_policy_can_be_given_in_several_ways(stockade, policy, reached):
    run = stockade.run("--", "curl", "-sS", f"http://{v4(13)}/hello", policy=policy)

    assert bool(run.saw(address=v4(13))) is reached, run.stderr


def test_devboxes_trust_the_test_ca(stockade):
    run = stockade.run("--", "curl", "-sS", "https://a.test/hello", policy="a.test")

    assert run.stdout == "hello from a.test\n", run.stderr


def test_input_passes_through(stockade):
    assert stockade.run("--", "cat", input="some text").stdout == "some text"


def test_other_subcommands_run_in_the_lab_too(stockade):
    assert "policy" in stockade("--help").stdout
