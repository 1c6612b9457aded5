"""The default image's recipe, and the progress of its build."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.runtime import recipe
from stockade.runtime.aptsources import Source
from stockade.runtime.build import Progress
from stockade.runtime.recipe import Recipe

DEBIAN = 'ID=debian\nVERSION_CODENAME="bookworm"\n'


def machine(tmp_path: Path, os_release: str) -> Path:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "os-release").write_text(os_release)
    return tmp_path


def test_debian_builds_its_own_release_from_its_own_sources(tmp_path: Path) -> None:
    etc = machine(tmp_path, DEBIAN)
    line = "deb http://mirror.example/debian bookworm main\n"
    (etc / "apt/sources.list").write_text(line)
    (etc / "apt/sources.list.d/vendor.list").write_text("deb http://v.example x y\n")
    (etc / "apt/sources.list.d/more.sources").write_text(
        "Types: deb\nURIs: http://mirror.example/debian-security\n"
        "Suites: bookworm-security\nComponents: main\n"
    )
    found = recipe.local_recipe(etc)
    assert found.suite == "bookworm"
    assert [source.uris[0] for source in found.sources] == [
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    ]


@pytest.mark.parametrize("os_release", ["ID=fedora\nVERSION_CODENAME=x\n", ""])
def test_others_build_a_fixed_release_from_the_default_mirror(
    tmp_path: Path, os_release: str
) -> None:
    etc = machine(tmp_path, os_release)
    line = "deb http://mirror.example/debian bookworm main\n"
    (etc / "apt/sources.list").write_text(line)
    assert recipe.local_recipe(etc) == Recipe("trixie")


def test_the_digest_is_of_the_contents_and_not_of_the_mirror() -> None:
    source = Source(("http://a.example/debian",), ("bookworm",), ("main",))
    plain = Recipe("bookworm")
    assert (
        Recipe("bookworm", (source,), {"Acquire::Retries": "3"}).digest == plain.digest
    )
    assert Recipe("trixie").digest != plain.digest


def test_the_command_says_all_there_is_to_say() -> None:
    options = {
        "Acquire::http::Proxy": "http://p.example",
        "Acquire::Check-Date": "false",
    }
    argv = Recipe("bookworm", (), options).argv(Path("/x/rootfs"), Path("/x/s.sources"))
    assert argv[:4] == [
        "mmdebstrap",
        "--verbose",
        "--mode=root",
        "--variant=minbase",
    ]
    assert '--aptopt=Acquire::http::Proxy "http://p.example"' in argv
    assert argv[-3:] == ["bookworm", "/x/rootfs", "/x/s.sources"]
    (hook,) = (word for word in argv if word.startswith("--customize-hook="))
    assert "Check-Date" in hook
    assert "p.example" not in hook, "a proxy of the machine is not for the image"
    assert {"ca-certificates", "curl", "git", "python3", "sudo"} <= set(recipe.PACKAGES)


def test_progress_only_grows_and_says_what_is_done() -> None:
    lines = [
        "I: chroot architecture amd64 is equal to the host's architecture",
        "I: running apt-get update...",
        *["Get:1 http://mirror.example/debian bookworm InRelease"] * 10,
        "I: downloading packages with apt...",
        *["Get:7 http://mirror.example/debian bookworm/main bash"] * 100,
        "I: extracting archives...",
        "I: installing essential packages...",
        *["Unpacking bash (5.2) ...", "Setting up bash (5.2) ..."] * 500,
        "I: installing remaining packages inside the chroot...",
        "I: running --customize-hook in shell: sh -c 'true'",
        "I: cleaning package lists and apt cache...",
        "I: success in 20.4 seconds",
    ]
    progress, seen = Progress(), [(0.0, "starting")]
    for line in lines:
        progress.read(line)
        seen.append((progress.fraction, progress.text))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert 0.9 < fractions[-1] <= 1
    assert len(set(fractions)) > 500
    assert list(dict.fromkeys(text for _, text in seen)) == [
        "starting",
        "reading package lists",
        "downloading packages",
        "unpacking the essential packages",
        "installing the essential packages",
        "installing the other packages",
        "adding the user",
        "cleaning up",
    ]
    assert not progress.read("Reading package lists...")
