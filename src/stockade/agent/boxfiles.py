"""Files of a devbox that runs, read and written by a process inside.

So its links lead to its own files, and its user may what its user may. A new file
appears whole, by renaming. One that is there keeps its inode, with owner, mode and links:
its new content is complete in a file beside it before it is touched.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator

from stockade.agent.helper import helper
from stockade.agent.inside import Inside
from stockade.errors import InvalidRequest, NotFound, StockadeError, Unavailable
from stockade.hosting import BoxAccount

_MAX_PATH = 4095
_MAX_SHOWN = 300

# What the scripts exit with; above what `cat` and the shell itself would.
_DIRECTORY, _MISSING, _SPECIAL, _DENIED, _PLACE, _WRITING, _DROPPED = range(81, 88)

# $1 is an absolute path in all scripts.
_READ = f"""
if [ -d "$1" ]; then exit {_DIRECTORY}; fi
if [ ! -e "$1" ]; then (: < "$1"); exit {_MISSING}; fi
if [ ! -f "$1" ]; then exit {_SPECIAL}; fi
if [ ! -r "$1" ]; then exit {_DENIED}; fi
exec cat < "$1"
"""

# $2 is the name of a file that does not exist. Only who says `keep` at the end was not
# cut off.
_WRITE = f"""
if [ -d "$1" ]; then exit {_DIRECTORY}; fi
folder=${{1%/*}}/ old=
mkdir -p "$folder" || exit {_PLACE}
if [ -e "$1" ]; then
    if [ ! -f "$1" ]; then exit {_SPECIAL}; fi
    if [ ! -w "$1" ]; then exit {_DENIED}; fi
fi
if [ -e "$1" ] || [ -L "$1" ]; then old=1; fi
mask=$(umask)
set -C
umask 077
part=$folder$2
if [ -n "$old" ]; then
    (: > "$part") 2> /dev/null || part=/tmp/$2
else
    umask "$mask"
fi
[ -e "$part" ] || (: > "$part") || exit {_PLACE}
set +C
trap 'rm -f "$part"' EXIT
cat > "$part" || exit {_WRITING}
read -r word <&1 || exit {_DROPPED}
[ "$word" = keep ] || exit {_DROPPED}
if [ -n "$old" ]; then
    umask "$mask"
    cat < "$part" > "$1" || exit {_WRITING}
else
    mv "$part" "$1" || exit {_WRITING}
fi
"""


async def read_file(
    inside: Inside, path: str, account: BoxAccount
) -> AsyncGenerator[bytes, None]:
    """Yield a file's content as *account* may read it.

    Raises `NotFound`, `InvalidRequest` for what is no regular file or not for it, and
    `Unavailable` when it does not come to an end.
    """
    place = resolve(path, account)
    async with helper(inside, account, _READ, place) as reader:
        await reader.end_input()
        size = 0
        while data := await reader.read():
            size += len(data)
            yield data
        status = await reader.status()
        if status and size:
            raise Unavailable(f"{path} could be read in part only: {reader.said()}")
        if status:
            raise _reason(status, path, reader.said())


async def write_file(
    inside: Inside, path: str, account: BoxAccount, content: AsyncIterator[bytes]
) -> int:
    """Write a file as *account*, with its parents; the size written.

    Nothing is left of one whose content breaks off. Raises as `read_file` does.
    """
    place = resolve(path, account)
    if place.endswith("/"):
        raise InvalidRequest(f"{path} is a directory")
    part = f".stockade-{os.urandom(8).hex()}"
    size = 0
    async with helper(inside, account, _WRITE, place, part) as writer:
        async for data in content:
            size += len(data)
            if not await writer.write(data):
                break
        await writer.end_input()
        writer.say("keep")
        status = await writer.status()
        if status:
            raise _reason(status, path, writer.said())
    return size


def resolve(path: str, account: BoxAccount) -> str:
    """Make *path* absolute: it may begin with `~/`, or be relative to the home."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("the path is not UTF-8") from None
    if not 0 < size <= _MAX_PATH or "\0" in path:
        raise InvalidRequest(
            f"a path has 1 to {_MAX_PATH} bytes, none of which is zero"
        )
    if path == "~" or path.startswith("~/"):
        return account.home + path[1:]
    return path if path.startswith("/") else f"{account.home}/{path}"


def _reason(status: int, path: str, said: str) -> StockadeError:
    """Tell from what a script exited with, and said, why."""
    path = path[:_MAX_SHOWN]
    said = said.rpartition(": ")[2][:_MAX_SHOWN]  # After program and file.
    is_denied = "permission denied" in said.lower()
    match status:
        case 81:
            return InvalidRequest(f"{path} is a directory")
        case 82 if not is_denied:
            return NotFound(f"there is no file {path}")
        case 83:
            return InvalidRequest(f"{path} is not a regular file")
        case 82 | 84:
            return InvalidRequest(f"{path}: permission denied")
        case _ if status < 126:
            return InvalidRequest(f"{path}: {said or f'it failed with {status}'}")
    return Unavailable(f"{path}: what should do this in the devbox was ended: {said}")
