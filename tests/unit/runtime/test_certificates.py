"""Certificates of the machine that an image lacks, compared as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.errors import InvalidRequest
from stockade.runtime import certificates
from stockade.runtime.tree import Tree

ONE, TWO, THREE = ("one" * 40, "two" * 40, "thr" * 40)
BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def write(path: Path, *bodies: str, extra: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(extra + "".join(map(certificates.render, bodies)))


def test_text_around_and_line_lengths_do_not_matter() -> None:
    wide = f"# Name\n-----BEGIN CERTIFICATE-----\r\n{ONE}\r\n-----END CERTIFICATE-----"
    trusted = (
        "-----BEGIN TRUSTED CERTIFICATE-----\nx\n-----END TRUSTED CERTIFICATE-----"
    )
    key = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"
    text = "\n".join([wide, trusted, key, certificates.render(TWO)])
    assert list(certificates.parse(text)) == [ONE, TWO]
    assert max(map(len, certificates.render(ONE).splitlines())) <= 64


def test_what_the_machine_trusts_is_all_of_it_once(tmp_path: Path) -> None:
    write(tmp_path / BUNDLE, ONE, TWO)
    write(tmp_path / "usr/local/share/ca-certificates/sub/own.crt", TWO)
    write(tmp_path / "etc/pki/ca-trust/source/anchors/own.pem", THREE)
    write(tmp_path / "usr/local/share/ca-certificates/note.txt", "x" * 40)
    assert certificates.of_machine(root=tmp_path) == [TWO, THREE, ONE]
    assert certificates.of_machine(anchors=False, root=tmp_path) == []


def test_files_of_the_operator_must_be_what_they_claim(tmp_path: Path) -> None:
    write(tmp_path / "good.pem", ONE)
    (tmp_path / "bad.pem").write_text("no certificate")
    good = certificates.of_machine([tmp_path / "good.pem"], anchors=False)
    assert good == [ONE]
    for name in ("bad.pem", "missing.pem"):
        with pytest.raises(InvalidRequest, match="not a PEM file"):
            certificates.of_machine([tmp_path / name], anchors=False)


def test_nothing_is_written_when_nothing_is_missing(tmp_path: Path) -> None:
    write(tmp_path / BUNDLE, ONE, TWO, extra="# comment\n")
    before = sorted(tmp_path.rglob("*"))
    with Tree(tmp_path) as tree:
        assert certificates.install(tree, [TWO, ONE]) == {}
        assert certificates.install(tree, []) == {}
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_missing_is_added_everywhere(tmp_path: Path) -> None:
    write(tmp_path / BUNDLE, ONE, extra="# comment\n")
    fedora = tmp_path / "etc/pki/tls/certs/ca-bundle.crt"
    fedora.parent.mkdir(parents=True)
    fedora.symlink_to("/etc/ssl/certs/ca-certificates.crt")
    with Tree(tmp_path) as tree:
        env = certificates.install(tree, [ONE, TWO, THREE])
    for path in (tmp_path / BUNDLE, fedora):
        assert list(certificates.parse(path.read_text())) == [ONE, TWO, THREE]
    assert (tmp_path / BUNDLE).read_text().startswith("# comment\n")
    extras = tmp_path / "etc/stockade/extra-ca.pem"
    assert list(certificates.parse(extras.read_text())) == [TWO, THREE]
    singles = sorted((tmp_path / "usr/local/share/ca-certificates").iterdir())
    assert [list(certificates.parse(path.read_text())) for path in singles] == [
        [TWO],
        [THREE],
    ]
    assert env == {
        "CURL_CA_BUNDLE": f"/{BUNDLE}",
        "GIT_SSL_CAINFO": f"/{BUNDLE}",
        "PIP_CERT": f"/{BUNDLE}",
        "REQUESTS_CA_BUNDLE": f"/{BUNDLE}",
        "SSL_CERT_FILE": f"/{BUNDLE}",
        "NODE_EXTRA_CA_CERTS": "/etc/stockade/extra-ca.pem",
    }


def test_an_image_without_any_gets_all(tmp_path: Path) -> None:
    with Tree(tmp_path) as tree:
        env = certificates.install(tree, [ONE])
    assert list(certificates.parse((tmp_path / BUNDLE).read_text())) == [ONE]
    assert env["SSL_CERT_FILE"] == f"/{BUNDLE}"
