"""Archives as streams: compressed or not, hashed as they are read."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import shutil
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Protocol, Self, cast

from stockade.command import spawn
from stockade.errors import InvalidRequest, Unavailable

#: What reading an archive raises that is not one, or not whole.
NOT_A_TAR = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)

_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"
_XZ, _ZSTANDARD = b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_PIECE = 1 << 18
_MAX_HEADER = 1 << 20


class Readable(Protocol):
    """What can be read to its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most *size* bytes; none at the end."""


class Hashed:
    """Another stream, hashed as it is read.

    *watch* is told how much was read so far, and may raise to stop.
    """

    def __init__(
        self, source: Readable, watch: Callable[[int], None] | None = None
    ) -> None:
        self._source = source
        self._watch = watch
        self._hash = hashlib.sha256()
        self.count = 0

    def read(self, size: int = _PIECE, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        piece = self._source.read(size if size >= 0 else _PIECE)
        self._hash.update(piece)
        self.count += len(piece)
        if self._watch is not None:
            self._watch(self.count)
        return piece

    def drain(self) -> str:
        """Read to the end; return the SHA-256 of all in hexadecimal."""
        while self.read(_PIECE):
            pass
        return self._hash.hexdigest()


class Member(tarfile.TarInfo):
    """A header whose extension is not read into memory whatever its size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read one header."""
        member = super().frombuf(buf, encoding, errors)
        data = member.isreg() or member.type == tarfile.GNUTYPE_SPARSE
        if member.size < 0 or (not data and member.size > _MAX_HEADER):
            raise InvalidRequest("the archive has a header of an impossible size")
        return member


@contextlib.contextmanager
def opened_tar(source: Readable) -> Iterator[tarfile.TarFile]:
    """Open a plain tar to be read once, from its beginning to its end."""
    file = cast("IO[bytes]", source)  # of which it only reads
    with tarfile.open(fileobj=file, mode="r|", bufsize=_PIECE, tarinfo=Member) as tar:
        yield tar


@contextlib.contextmanager
def plain(source: Readable) -> Iterator[Readable]:
    """Yield *source* decompressed, by what it begins with."""
    beginning = b""
    while len(beginning) < len(_XZ):
        piece = source.read(len(_XZ) - len(beginning))
        if not piece:
            break
        beginning += piece
    whole = _Joined(beginning, source)
    file = cast("IO[bytes]", whole)  # of which they only read
    if beginning.startswith(_GZIP):
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream
    elif beginning.startswith(_BZIP2):
        with bz2.BZ2File(file) as stream:
            yield stream
    elif beginning.startswith(_XZ):
        with lzma.LZMAFile(file) as stream:
            yield stream
    elif beginning.startswith(_ZSTANDARD):
        with _zstandard(whole) as stream:
            yield stream
    else:
        yield whole


def is_compressed(file: IO[bytes]) -> bool:
    """Whether *file*, which stands at its beginning, has to be decompressed."""
    beginning = file.read(len(_XZ))
    file.seek(0)
    return beginning.startswith((_GZIP, _BZIP2, _XZ, _ZSTANDARD))


class _Joined:
    """Some bytes, and then a stream."""

    def __init__(self, beginning: bytes, source: Readable) -> None:
        self._beginning = beginning
        self._source = source

    def read(self, size: int = _PIECE, /) -> bytes:
        if self._beginning:
            piece, self._beginning = self._beginning[:size], self._beginning[size:]
            return piece
        return self._source.read(size if size >= 0 else _PIECE)


@contextlib.contextmanager
def _zstandard(source: Readable) -> Iterator[Readable]:
    if shutil.which("zstd") is None:
        raise Unavailable(
            "the archive is compressed with zstd, which is not installed: "
            "install the package zstd, or give it uncompressed"
        )
    process = spawn(["zstd", "-dcq"], stdin=-1, stdout=-1)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None  # noqa: S101 - it was asked for
    assert stdout is not None  # noqa: S101 - the same
    failed: list[BaseException] = []
    feeder = threading.Thread(target=_feed, args=(source, stdin, failed))
    feeder.start()
    finished = False
    try:
        yield stdout
        while stdout.read(_PIECE):
            pass  # padding after the end, which zstd wants to be rid of
        finished = True
    finally:
        stdout.close()
        if not finished:
            process.kill()
        feeder.join()
        status = process.wait()
    if failed:
        raise failed[0]
    if status:
        raise InvalidRequest("the archive cannot be decompressed")


def _feed(source: Readable, target: IO[bytes], failed: list[BaseException]) -> None:
    try:
        with target:
            while piece := source.read(_PIECE):
                target.write(piece)
    except BrokenPipeError:
        pass  # it does not want more: its exit status tells why
    except BaseException as error:  # noqa: BLE001 - raised again by who reads
        failed.append(error)
