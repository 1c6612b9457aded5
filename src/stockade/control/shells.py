"""Named shells: commands that go on where the last one of the same name left off.

Older clients (`shell_name`, until 2.0) know them. What a command leaves, its directory,
variables and functions, is kept in a file in the devbox, and commands of one name wait
for each other. Nothing of it is trusted here: it is the devbox's own.
"""

from __future__ import annotations

import hashlib
import shlex

from stockade.errors import InvalidRequest

_MAX_NAME = 256

# What a command starts in the background must not hold the lock: for it, 9 is closed.
# The variables that bash does not let anybody set are complained about, and skipped.
_SCRIPT = """\
exec 9>>{file}.lock; flock 9 2>/dev/null
[ -f {file} ] && . {file} 2>/dev/null
__stockade_keep() {{
    local status=$?
    (umask 077; {{ declare -p; declare -f; alias -p; printf 'cd -- %q\\n' "$PWD"; }} \
>{file} 2>/dev/null)
    exit "$status"
}}
trap __stockade_keep EXIT
eval {command} 9>&-
"""


def in_named_shell(name: str, command: str) -> str:
    """The script that runs *command* in the shell called *name*."""
    if not 1 <= len(name) <= _MAX_NAME:
        raise InvalidRequest(f"shell_name: 1 to {_MAX_NAME} characters are needed")
    return _SCRIPT.format(file=state_file(name), command=shlex.quote(command))


def state_file(name: str) -> str:
    """Where, in the devbox, what the shell called *name* has left is kept."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"/tmp/.stockade-shell-{digest}"  # noqa: S108 - inside the devbox
