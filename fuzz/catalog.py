"""All targets, the parsers first."""

from __future__ import annotations

from fuzz import (
    control,
    dns_service,
    judging,
    names,
    policies,
    tcp_service,
    wire_dns,
    wire_http,
    wire_sniff,
    wire_tls,
)

TARGETS = {
    target.name: target
    for target in (
        wire_dns.QUERY,
        wire_dns.ANSWER,
        wire_tls.HELLO,
        wire_http.HEAD,
        wire_http.STREAM,
        wire_sniff.SNIFF,
        names.NAMES,
        policies.POLICY,
        control.CONTROL,
        judging.JUDGE,
        tcp_service.TCP,
        dns_service.DNS,
    )
}
