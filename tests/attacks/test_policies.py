"""Policies that say less, or more, than their author thinks."""

from __future__ import annotations

import pytest

from tests.attacks.builders import get, hello, tcp
from tests.attacks.conftest import Attacker
from tests.lab import Lab
from tests.lab.addresses import v4
from tests.lab.stockade import COMMAND, Stockade

A, X = v4(10), v4(66)


def test_an_empty_policy_denies_everything(attack: Attacker) -> None:
    """A name and nothing else: no question, no connection, no packet."""
    outcome = attack(
        {"name": "empty", "allow_all": False, "allowed_hostnames": []},
        tcp("a.test", 443, hello("a.test")),
        tcp(A, 80, get("a.test")),
    )
    assert sum(outcome.packets.values()) == 0
    control = attack("all", tcp("a.test", 80, get("a.test")))
    assert control.run.saw(kind="http", name="a.test")


@pytest.mark.parametrize(
    "pattern",
    [
        "*", "*.com", "a.*.test", "foo*.w.test", "**.w.test", "*.*.test", ".w.test",
        "(a|b).test", "a.test\n", " a.test", "", "https://a.test", "a.test:443",
        "a.test/path", "203.0.113.10", "[::1]", "::1", "a..test", "-a.test",
        "a" * 64 + ".test", "0x7f.1",
    ],
)  # fmt: skip
def test_what_is_no_host_name_is_refused_before_anything_runs(
    lab: Lab, stockade: Stockade, pattern: str
) -> None:
    """A pattern that would be dropped, or read generously, is a policy nobody wrote."""
    before = lab.packets()
    run = stockade.run(f"--allow={pattern}", "--", "curl", "-s", "http://a.test/")
    assert run.returncode == 125
    assert run.stdout == ""
    assert run.stderr.startswith("stockade: --allow")
    assert len(run.stderr.splitlines()) == 1
    assert lab.packets() == before


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('allowed_hosts = ["a.test"]', "unknown field 'allowed_hosts'"),
        ('allowed_hostnames = "a.test"', "expected a list"),
        ("allow_all = 1", "not true or false"),
        ('allowed_hostnames = ["a.test", 7]', "not a text"),
        ('[[allowed_cidrs]]\ncidr = "10.0.0.1/8"', "host bits"),
        ('[[allowed_cidrs]]\ncidr = "10.0.0.0/8"\nports = [{port = 0}]', "not a port"),
        ("allowed_hostnames = [", "end of document"),
        ("\x00", "Invalid"),
    ],
)
def test_a_policy_file_that_cannot_be_read_starts_nothing(
    lab: Lab, text: str, complaint: str
) -> None:
    """A misspelt restriction must not become no restriction."""
    path = lab.directory / "broken.toml"
    path.write_text(text)
    done = lab.exec_host([COMMAND, "run", "--policy", str(path), "--", "echo", "ran"])
    assert done.returncode == 125
    assert done.stdout == ""
    assert str(path) in done.stderr
    assert complaint.lower() in done.stderr.lower()


def test_allow_all_does_not_open_what_is_guarded(attack: Attacker) -> None:
    """The widest policy still ends at the guardrails; a public host is its control."""
    inside = ("169.254.169.254", "10.20.0.10", "198.51.100.2", "127.0.0.1", "0.0.0.0")
    outcome = attack(
        "all",
        *(tcp(address, 8080, get("x.test")) for address in inside),
        tcp(X, 8080, get("x.test")),
    )
    assert {entry.address for entry in outcome.run.saw(kind="http")} == {X}
    assert outcome.arrived("169.254.169.254") == outcome.arrived("10.20.0.10") == 0


def test_redirects_lead_only_where_the_policy_does(stockade: Stockade) -> None:
    """An allowed host answers 302 to a denied one: the second request is denied."""
    run = stockade.run(
        "--", "curl", "-sSL", "http://redirect.test/redirect?to=http://d.test/",
        policy="redirect.test",
    )  # fmt: skip
    assert run.saw(kind="http", name="redirect.test")
    assert not run.saw(kind="http", name="d.test")
    assert "network_policy_denied" in run.stdout
    assert "denied   d.test:80" in run.stderr


def test_a_poisoned_hosts_file_leads_to_the_real_host(stockade: Stockade) -> None:
    """Root in the devbox writes /etc/hosts; the gateway dials the name all the same."""
    run = stockade.run(
        "--", "bash", "-c",
        f"echo {X} a.test >> /etc/hosts; curl -sk https://a.test/hello; "
        "curl -s http://a.test/hello",
        policy="a.test",
    )  # fmt: skip
    assert {entry.address for entry in run.saw(kind="http")} <= {A, "2001:db8::10"}
    assert run.saw(kind="tls", name="a.test")
    assert not run.saw(address=X)
