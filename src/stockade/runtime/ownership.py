"""A filter under which standard streams cannot be given to a devbox.

It refuses fchown(2) of the descriptors 0 to 2 to an id of a devbox, with EPERM, which
runtimes take for "not possible here". Inside a devbox such ids do not occur, so that the
filter, which is inherited, means nothing there.
"""

from __future__ import annotations

import struct

from stockade.errors import Unavailable
from stockade.runtime.idrange import FIRST_ID

# Architecture (AUDIT_ARCH) and number of fchown.
_FCHOWN = {"x86_64": (0xC000_003E, 93), "aarch64": (0xC000_00B7, 55)}
_LAST_STREAM = 2
_EPERM = 1

# Classic BPF: load a word of `struct seccomp_data`, jump, return.
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
_ALLOW, _REFUSE = 0x7FFF_0000, 0x0005_0000 | _EPERM


def keep_stdio(machine: str) -> bytes:
    """Assemble the filter for *machine*, as `uname -m` names it."""
    try:
        architecture, fchown = _FCHOWN[machine]
    except KeyError:
        raise Unavailable(f"devboxes cannot run on {machine}") from None
    # Each jump says how many instructions to skip if true, if false; 9 is "refuse".
    return b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, _ARCHITECTURE),
            (_EQUAL, 0, 6, architecture),
            (_LOAD, 0, 0, _NUMBER),
            (_EQUAL, 0, 4, fchown),
            (_LOAD, 0, 0, _FIRST),
            (_GREATER, 2, 0, _LAST_STREAM),
            (_LOAD, 0, 0, _SECOND),
            (_AT_LEAST, 1, 0, FIRST_ID),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
        )
    )
