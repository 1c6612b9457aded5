"""Rules for addresses, and the addresses around what they allow."""

from __future__ import annotations

from tests.attacks.inside import run_inside
from tests.lab.addresses import HOST4, HOST6, HOST_EXTRA4, HOST_PRIVATE4, PRIVATE4, v4
from tests.lab.stockade import Stockade

EXCHANGE = r"""
def exchange(host, port):
    with socket.create_connection((host, port), timeout=3) as sock:
        sock.settimeout(3)
        sock.sendall(b"secret\n")
        return sock.recv(100).decode().strip()
def udp(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                       socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.connect((host, port))
        sock.send(b"secret")
        return sock.recv(100).decode()
result = [tried(udp if len(item) == 3 else exchange, *item[:2]) for item in given]
"""


def rule(cidr: str, *ports: tuple[int, str]) -> dict[str, object]:
    """A policy of one CIDR rule."""
    listed = [{"port": port, "protocol": protocol} for port, protocol in ports]
    return {"name": "cidr", "allowed_cidrs": [{"cidr": cidr, "ports": listed}]}


def test_a_rule_opens_its_range_its_port_and_its_protocol_only(
    stockade: Stockade,
) -> None:
    """One address next to the range, one port next to the rule's, the other protocol.

    What the rule says does pass, in the same run.
    """
    inside, neighbours, low, high = v4(64), (v4(63), v4(68)), 7000, 7002
    targets: list[tuple[object, ...]] = [
        (inside, 7001),
        (v4(67), 7001),
        *((address, 7001) for address in neighbours),
        (inside, low),
        (inside, high),
        (inside, 7001, "udp"),
    ]
    report = run_inside(
        stockade,
        EXCHANGE,
        policy=rule("203.0.113.64/30", (7001, "TCP")),
        arguments=targets,
    )
    said = [answer["said"] for answer in report.value]
    assert said[:2] == ["secret", "secret"]
    assert "secret" not in said[2:]
    assert {(key.protocol, key.address, key.port) for key in report.packets} == {
        ("tcp", inside, 7001),
        ("tcp", v4(67), 7001),
    }
    for address, port, *_ in targets[2:]:
        assert report.reasons <= {"address_not_allowed", "no_client_data"}
        assert report.denied(str(address), int(str(port)))


def test_a_rule_for_a_private_range_reaches_it(stockade: Stockade) -> None:
    """Private ranges are closed to names and to allow-all, and open to a rule."""
    target = [(PRIVATE4, 7001)]
    denied = run_inside(stockade, EXCHANGE, policy="all", arguments=target)
    assert denied.denied(PRIVATE4, 7001) == {"guardrail_private"}
    assert sum(denied.packets.values()) == 0
    control = run_inside(
        stockade, EXCHANGE, policy=rule("10.20.0.0/16"), arguments=target
    )
    assert control.value[0]["said"] == "secret"


def test_the_widest_rules_do_not_open_what_is_guarded(stockade: Stockade) -> None:
    """0.0.0.0/0 and ::/0 cover metadata services, loopback and the machine itself.

    The guardrails stand above every rule; a public host is the control.
    """
    guarded = {
        "169.254.169.254": "guardrail_metadata",
        "169.254.170.2": "guardrail_metadata",
        "100.100.100.200": "guardrail_metadata",
        "168.63.129.16": "guardrail_metadata",
        "fd00:ec2::254": "guardrail_metadata",
        "169.254.7.7": "guardrail_link_local",
        "240.0.0.1": "guardrail_reserved",
        HOST4: "guardrail_host",
        HOST6: "guardrail_host",
        HOST_EXTRA4: "guardrail_host",
        HOST_PRIVATE4: "guardrail_host",
    }
    cidrs = ("0.0.0.0/0", "::/0", "169.254.0.0/16", "10.20.0.0/16", "fd00::/8")
    policy = {
        "name": "wide",
        "allowed_cidrs": [{"cidr": cidr, "ports": []} for cidr in cidrs],
    }
    targets = [(address, port) for address in guarded for port in (80, 8080)]
    targets += [(*target, "udp") for target in targets]  # type: ignore[misc]
    report = run_inside(
        stockade, EXCHANGE, policy=policy, arguments=[*targets, (v4(66), 80, "udp")]
    )
    assert report.value.pop()["said"] == "secret"
    assert "secret" not in [answer["said"] for answer in report.value]
    assert {key.address for key in report.packets} == {v4(66)}
    assert not report.run.saw(side="host")
    for address, reason in guarded.items():
        assert report.denied(address, 80) == report.denied(address, 8080) == {reason}
