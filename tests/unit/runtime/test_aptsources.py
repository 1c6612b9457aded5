"""The machine's package sources: only the Debian archive's, in both formats."""

from __future__ import annotations

import pytest

from stockade.runtime import aptsources
from stockade.runtime.aptsources import Source

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
STANZAS = f"""\
# A comment
Types: deb deb-src
# A comment within
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: {KEYRING}

Types: deb
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
signed-by: {KEYRING}
Check-Valid-Until: no

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://packages.example/debian
Suites: bookworm
Components: stable
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 aaaa

Enabled: no
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
"""


def test_stanzas_are_read_and_written_back() -> None:
    sources = list(aptsources.parse_stanzas(STANZAS))
    assert [source.suites[0] for source in sources] == [
        "bookworm",
        "bookworm-security",
        "bookworm",
    ]
    chosen = aptsources.of_debian(sources, "bookworm")
    assert [source.render() for source in chosen] == [
        f"""\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: {KEYRING}
""",
        f"""\
Types: deb
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
Signed-By: {KEYRING}
Check-Valid-Until: no
""",
    ]
    assert list(aptsources.parse_stanzas(chosen[1].render())) == [chosen[1]]


OPTIONS = f"signed-by={KEYRING} check-valid-until=no"


def test_lines_are_read() -> None:
    text = f"""
# deb http://old.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib  # the mirror
deb [arch=amd64 {OPTIONS}] http://m.example/debian/ bookworm-updates main
deb-src http://mirror.example/debian bookworm main
deb cdrom:[disc]/ bookworm main
deb http://flat.example/ ./
nonsense
"""
    chosen = aptsources.of_debian(aptsources.parse_lines(text), "bookworm")
    assert chosen == [
        Source(("http://mirror.example/debian",), ("bookworm",), ("main",)),
        Source(
            ("http://m.example/debian/",),
            ("bookworm-updates",),
            ("main",),
            (("Signed-By", KEYRING), ("Check-Valid-Until", "no")),
        ),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "deb https://download.example/linux/debian bookworm stable",
        "deb https://packages.example/debian/12/prod bookworm main",
        "deb https://apt.example/pub bookworm-pgdg main",
        "deb https://deb.example/node_20.x nodistro main",
        "deb [signed-by=/etc/apt/vendor.asc] https://x.example/debian bookworm main",
        "deb https://mirror.example/debian trixie main",
        "deb file:/srv/debian bookworm main",
        "deb cdrom:[Debian]/debian bookworm main",
        "deb https://mirror.example/ubuntu bookworm main",
        # The release itself is missing: not enough to build from.
        "deb https://mirror.example/debian bookworm-updates main",
    ],
)
def test_what_is_not_the_debian_archive_is_left_out(line: str) -> None:
    sources = list(aptsources.parse_lines(line))
    assert aptsources.of_debian(sources, "bookworm") == []


DUMP = """\
APT "";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::http::Proxy::internal.example "DIRECT";
Acquire::https::CaInfo "/etc/ssl/own.pem";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
Acquire::GzipIndexes "true";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
DPkg::Post-Invoke:: "rm -rf /";
APT::Update::Post-Invoke:: "echo";
Dir "/";
"""


def test_only_options_about_the_mirror_are_taken() -> None:
    options = aptsources.apt_options(DUMP)
    assert options == {
        "Acquire::http::Proxy": "http://proxy.example:3128",
        "Acquire::http::Proxy::internal.example": "DIRECT",
        "Acquire::https::CaInfo": "/etc/ssl/own.pem",
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Retries": "3",
    }
    assert aptsources.lasting(options) == {"Acquire::Check-Valid-Until": "false"}
