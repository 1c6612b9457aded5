"""Builds images from Dockerfiles, each in a devbox of its own, under a policy.

buildah runs inside, as root of a devbox: what a step can reach is what a devbox can, and
the gateway judges it by the build's policy from its first packet on. The directories of a
build are the only ones of the machine in there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stockade.agent.agent import HostAgent
from stockade.errors import InvalidRequest
from stockade.runtime import overlay
from stockade.runtime.binds import Volume
from stockade.runtime.box import BoxExit
from stockade.runtime.driver import Stdio
from stockade.runtime.exporting import BASES, export
from stockade.runtime.images import Image, ImageStore
from stockade.runtime.publishing import Publisher
from stockade.runtime.tags import BUILDER
from stockade.spec import DevboxId, DevboxSpec, PolicyPush

_DIGITS = 12
_JOB, _OUT = "job", "out"

# The arguments are those of `buildah build`. What a base brings is taken once per cache.
_SCRIPT = """\
set -eu
export TMPDIR=/cache/tmp
buildah() { command buildah --root /cache/storage --runroot /run/buildah "$@"; }
rm -rf "$TMPDIR"
mkdir -p "$TMPDIR"
for base in /bases/*; do
    name=localhost/${base##*/}
    buildah images -q "$name" >/dev/null 2>&1 && continue
    id=$(buildah pull -q "oci:$base")
    buildah tag "$id" "$name"
done
buildah build --isolation chroot --network host --pull-never --layers "$@" \\
    -t localhost/result -f /job/Dockerfile /context
buildah push -q localhost/result docker-archive:/out/image.tar
"""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """One build. *bases* are the images that FROM may name, by the names it uses.

    *directory* is the build's own and is there; *context* is what COPY sees. *cache* is
    what builds that may share steps have in common: whoever may break it, as a step that
    gets out of buildah, may break those. Both are as large as the disk they are on.
    *secrets* are for `RUN --mount`, *seconds* is how long it may take, *memory* in bytes.
    """

    id: DevboxId
    dockerfile: str
    context: Path
    directory: Path
    cache: Path
    bases: Mapping[str, Image]
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    target: str | None = None
    seconds: float = 3600.0
    memory: int | None = None
    cpus: float | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """How a build ended, None if not in time; and its image if all went well."""

    exit: BoxExit | None
    image: Image | None


class Builds:
    """The builds of one machine. *images* is their store, *data_dir* its directory."""

    def __init__(self, agent: HostAgent, images: ImageStore, data_dir: Path) -> None:
        self._agent = agent
        self._images = images
        self._bases = data_dir / BASES

    async def build(self, order: BuildOrder, push: PolicyPush, log: int) -> Built:
        """Run a build; what it prints, however much, goes to the descriptor *log*.

        What the Dockerfile does wrong is in the log and the exit status. Raises what
        `HostAgent.prepare` and `release` do. Cancelling ends it.
        """
        builder = await self._images.ensure(BUILDER)
        bases = [
            Volume(await self._layout(image), f"/bases/{image.digest[:_DIGITS]}", True)
            for image in _distinct(order.bases)
        ]
        try:
            job = await asyncio.to_thread(_lay_out, order)
            volumes = (
                *bases,
                Volume(job, "/job", read_only=True),
                Volume(order.context, "/context", read_only=True),
                Volume(order.cache, "/cache"),
                Volume(order.directory / _OUT, f"/{_OUT}"),
            )
            ended = await self._run(order, builder, volumes, push, log)
            if ended is None or ended.status:
                return Built(ended, None)
            archive = order.directory / _OUT / "image.tar"
            name = f"build/{order.id}"
            image = await self._images.import_archive(archive, name=name)
            return Built(ended, image)
        finally:
            for place in (_JOB, _OUT):
                await asyncio.to_thread(overlay.delete, order.directory / place)

    async def _run(
        self,
        order: BuildOrder,
        builder: Image,
        volumes: tuple[Volume, ...],
        push: PolicyPush,
        log: int,
    ) -> BoxExit | None:
        """Run the builder; None if it did not end in time."""
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            stdio = Stdio(null, log, log)
            devbox = await self._agent.prepare(
                _spec(order), builder, stdio, volumes=volumes, nesting=True
            )
        finally:
            os.close(null)
        try:
            await self._agent.release(devbox, push)
            return await asyncio.wait_for(devbox.wait(), order.seconds)
        except TimeoutError:
            return None
        finally:
            await self._agent.remove(devbox)

    async def _layout(self, image: Image) -> Path:
        """Return *image* as an OCI layout, written once."""

        def write() -> Path:
            def fill(place: Path) -> None:
                (place / "layout").mkdir()
                export(image, self._images.directory, place / "layout", lambda: None)

            publisher = Publisher(self._bases, lambda _, __: None)
            return publisher.publish(image.digest, fill, {"layout"}) / "layout"

        return await asyncio.to_thread(write)


def _distinct(bases: Mapping[str, Image]) -> list[Image]:
    """The images that have at least one name, each once."""
    return list({image.digest: image for image in bases.values()}.values())


def _spec(order: BuildOrder) -> DevboxSpec:
    options: list[str] = []
    for name, image in order.bases.items():
        place = f"container-image://localhost/{image.digest[:_DIGITS]}"
        options += ["--build-context", f"{name}={place}"]
    for name, value in order.args.items():
        options += ["--build-arg", f"{name}={value}"]
    for name in order.secrets:
        options += ["--secret", f"id={name},src=/job/secrets/{name}"]
    if order.target is not None:
        options += ["--target", order.target]
    return DevboxSpec(
        order.id,
        ("/bin/bash", "-c", _SCRIPT, "build", *options),
        image=BUILDER,
        workdir="/",
        memory=order.memory,
        cpus=order.cpus,
        hostname="build",
        # sudo is what people write in steps; there is nobody outside to become.
        allow_sudo=True,
    )


def _lay_out(order: BuildOrder) -> Path:
    """Write what only the builder is to read, and return where."""
    for name in order.secrets:
        if not name.isidentifier():
            raise InvalidRequest(f"not a name for a secret of a build: {name!r}")
    order.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    (order.directory / _OUT).mkdir(mode=0o700)
    job = order.directory / _JOB
    (job / "secrets").mkdir(mode=0o700, parents=True)
    job.chmod(0o700)
    (job / "Dockerfile").write_text(order.dockerfile)
    for name, value in order.secrets.items():
        descriptor = os.open(
            job / "secrets" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
        )
        with open(descriptor, "wb") as file:
            file.write(value)
    return job
