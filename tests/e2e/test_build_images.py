"""Images are built from Dockerfiles inside a devbox: under a policy, and out of reach.

One agent and one cache serve all of these tests; the first build brings in its base.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stockade.config import Settings
from stockade.errors import Conflict
from stockade.runtime import recipe
from stockade.runtime.collecting import Collector
from stockade.runtime.images import ImageStore
from tests.lab import Lab

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2-never-stored"
EVERYTHING = """
ARG GREETING=nothing
FROM debian:any AS first
ARG GREETING
RUN echo "$GREETING" > /greeting
RUN <<EOF
echo here > /document
EOF
ADD http://a.test/hello /added
FROM debian:any
COPY --from=first /greeting /document /added /
COPY . /context/
RUN --mount=type=secret,id=token test "$(wc -c < /run/secrets/token)" = 20
RUN curl -sS http://a.test/hello > /reached; rm /etc/debian_version
ENV NAME=value
WORKDIR /context
CMD ["/bin/bash"]
"""


# What no step here needs of the default image: with it, copies of the base take longer than
# all tests.
LEFT_OUT = (
    *(
        "usr/share",
        "usr/lib/git-core",
        "usr/lib/python3*",
        "usr/lib/gcc*",
        "usr/include",
    ),
    *("var/lib/apt", "var/lib/dpkg", "var/cache", "usr/lib/*/perl*", "usr/lib/locale"),
)


class Engine:
    """A process that builds."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process = process
        self.directory = directory
        self.context = directory / "context"

    def build(self, dockerfile: str, *names: str, **fields: Any) -> dict[str, Any]:
        order = {
            "dockerfile": dockerfile,
            "context": str(self.context),
            "policy": {"name": "build", "allowed_hostnames": list(names)},
            "bases": {"debian:any": str(self.directory / "base.tar")},
            **fields,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer

    def run(self, script: str) -> str:
        """What a step prints."""
        (self.directory / "context/step").write_text(script)
        dockerfile = "FROM debian:any\nCOPY step /step\nRUN sh /step\n"
        answer = self.build(dockerfile)
        assert answer["status"] == 0, answer["log"]
        log: str = answer["log"]
        return log.partition("RUN sh /step\n")[2].partition("COMMIT ")[0]


@pytest.fixture(scope="module")
def engine(lab: Lab, default_image: None) -> Iterator[Engine]:
    directory = Path(tempfile.mkdtemp(dir=lab.directory, prefix="builds-"))
    directory.chmod(0o711)
    images = directory / "images"
    images.mkdir(mode=0o700)
    own = Settings().data_dir / "images"
    asyncio.run(ImageStore(Settings().data_dir).ensure("builder"))
    builder = recipe.builder_digest()
    (images / builder).symlink_to(own / builder)
    root = own / recipe.Recipe(recipe.suite()).digest / "rootfs"
    without = [f"--exclude=./{place}" for place in LEFT_OUT]
    argv = ["tar", "-C", str(root), "--numeric-owner", *without]
    subprocess.run([*argv, "-cf", directory / "base.tar", "."], check=True)
    context = directory / "context"
    (context / "ignored").mkdir(parents=True)
    (context / ".dockerignore").write_text("ignored\n")
    (context / "kept").write_text("kept")
    (context / "host").symlink_to("/etc/machine-id")
    with (directory / "errors").open("w") as errors:
        process = lab.popen_host(
            [sys.executable, "-m", "tests.e2e.build_driver", str(directory)],
            env={"STOCKADE_RUN_DIR": str(directory / "run")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
        )
    with process:
        yield Engine(process, directory)
        process.communicate(timeout=30)
    assert process.returncode == 0, (directory / "errors").read_text()
    assert [path.name for path in (directory / "run").glob("bpt_*")] == []


@pytest.fixture(scope="module")
def everything(engine: Engine) -> dict[str, Any]:
    return engine.build(
        EVERYTHING,
        "a.test",
        args={"GREETING": "hello"},
        secrets={"token": SECRET},
    )


def upper(built: dict[str, Any], path: str) -> Path:
    """Where the highest layer that has *path* has it."""
    for layer in reversed(built["layers"]):
        if (Path(layer) / path).is_symlink() or (Path(layer) / path).exists():
            return Path(layer) / path
    raise AssertionError(path)


def test_a_dockerfile_becomes_an_image(
    everything: dict[str, Any], engine: Engine
) -> None:
    assert everything["status"] == 0, everything["log"]
    assert upper(everything, "greeting").read_text() == "hello\n"
    assert upper(everything, "document").read_text() == "here\n"
    assert upper(everything, "added").read_text() == "hello from a.test\n"
    assert upper(everything, "reached").read_text() == "hello from a.test\n"
    assert upper(everything, "context/kept").read_text() == "kept"
    assert not any(Path(la, "context/ignored").exists() for la in everything["layers"])
    assert everything["env"]["NAME"] == "value"
    deleted = upper(everything, "etc/debian_version")
    assert deleted.is_char_device(), "a whiteout"
    # What it begins with is the base itself, not a copy.
    images = ImageStore(engine.directory)
    base = images.find("base")
    assert base is not None
    assert everything["layers"][0] == str(base.layers[0])
    del base
    with pytest.raises(Conflict, match="an image that was built on it"):
        Collector(images).remove("base")
    assert everything["left"] == ["log"]


def test_a_link_in_the_context_leads_nowhere(everything: dict[str, Any]) -> None:
    host = upper(everything, "context/host")
    assert host.is_symlink()
    assert str(host.readlink()) == "/etc/machine-id"


def test_a_secret_is_in_no_layer_cache_or_log(
    everything: dict[str, Any], engine: Engine
) -> None:
    assert SECRET not in everything["log"]
    layers = [*everything["layers"][1:], engine.directory / "cache"]
    done = subprocess.run(
        ["grep", "-rlF", SECRET, *layers], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_steps_that_were_done_are_not_done_again(
    everything: dict[str, Any], engine: Engine
) -> None:
    again = engine.build(
        EVERYTHING,
        "a.test",
        args={"GREETING": "hello"},
        secrets={"token": SECRET},
    )
    assert again["digest"] == everything["digest"]
    assert again["log"].count("Using cache") >= 6
    assert "curl" not in again["log"].replace("RUN curl", "")


def test_a_step_reaches_what_the_policy_allows(
    everything: dict[str, Any], engine: Engine, lab: Lab
) -> None:
    mark = lab.mark()
    built = engine.build(
        "FROM debian:any\nRUN curl -sS http://a.test/hello; curl -sS https://b.test/;"
        " curl -sS --noproxy '*' http://192.0.2.1/; true\n",
        "a.test",
    )
    assert "hello from a.test" in built["log"]
    assert "access denied" in built["log"]
    seen = {entry.name for entry in lab.seen(since=mark, kind="http")}
    assert seen == {"a.test"}


def test_adding_what_is_denied_fails(
    everything: dict[str, Any], engine: Engine, lab: Lab
) -> None:
    mark = lab.mark()
    built = engine.build("FROM debian:any\nADD http://c.test/x /x\n")
    assert built["status"] != 0
    assert built["digest"] is None
    assert "http://c.test/x" in built["log"]
    assert lab.seen(since=mark) == ()


def test_a_step_can_do_no_more_than_a_devbox(
    everything: dict[str, Any], engine: Engine
) -> None:
    said = engine.run(
        """
        got() { echo "GOT: $*"; }
        for flag in -U -Ur -m -n -p -i -C; do
            unshare $flag true && got "a namespace by $flag"
        done
        mount -t tmpfs none /mnt && got "a mount"
        mknod /disk b 254 0 && got "a device"
        ls /cache /job /bases /out && got "the builder's files"
        for process in /proc/[0-9]*; do
            cat $process/environ | grep -aq TMPDIR=/cache && got "$process/environ"
            ls $process/root/cache && got "$process/root"
            nsenter -t ${process#/proc/} -m ls /cache && got "into $process"
            dd if=$process/mem count=1 of=/dev/null && got "$process/mem"
        done
        ip link add x type dummy && got "an interface"
        ip address add 192.0.2.9/24 dev eth0 && got "an address"
        cp /bin/sh /proc/sys/kernel/core_pattern && got "a setting"
        grep -E 'CapBnd|CapEff|Seccomp:' /proc/self/status
        sudo -u user id -u
        """
    )
    assert "GOT" not in said
    # Those of root in a devbox, as `bundle.CAPABILITIES` has them.
    assert "CapEff:\t00000000800405fb" in said
    assert "CapBnd:\t00000000800405fb" in said
    assert "Seccomp:\t2" in said
    assert "\n1000\n" in said, "sudo works as people expect it to"


def test_a_step_that_fails_fails_the_build(
    everything: dict[str, Any], engine: Engine
) -> None:
    before = sorted(path.name for path in (engine.directory / "images").iterdir())
    built = engine.build("FROM debian:any\nRUN echo so far; exit 7\n")
    assert built["status"] != 0
    assert "so far" in built["log"]
    assert "exit status 7" in built["log"]
    assert before == sorted(
        path.name for path in (engine.directory / "images").iterdir()
    )
    missing = engine.build("FROM nothing.test/here\nRUN true\n", "nothing.test")
    assert missing["status"] != 0
    assert "nothing.test/here" in missing["log"]


def test_a_build_has_an_end(everything: dict[str, Any], engine: Engine) -> None:
    built = engine.build("FROM debian:any\nRUN sleep 1000\n", seconds=2)
    assert (built["status"], built["digest"]) == (None, None)
    # What it left does not hinder the next.
    assert engine.build("FROM debian:any\nRUN true\n")["status"] == 0
