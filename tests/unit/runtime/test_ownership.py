"""The filter that keeps standard streams, run by a small model of classic BPF."""

from __future__ import annotations

import struct

import pytest

from stockade.errors import Unavailable
from stockade.runtime import ownership
from stockade.runtime.idrange import FIRST_ID

ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0001
X86, ARM = (0xC000_003E, 93), (0xC000_00B7, 55)


def run(program: bytes, data: bytes) -> int:
    """Execute *program* on a `struct seccomp_data`."""
    instructions = list(struct.iter_unpack("<HBBI", program))
    position = accumulator = 0
    while True:
        code, if_true, if_false, value = instructions[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return value
        else:
            compared = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
            }[code]
            position += if_true if compared else if_false


def call(architecture: int, number: int, *arguments: int) -> bytes:
    padded = [*arguments, *[0] * (6 - len(arguments))]
    return struct.pack("<iIQ6Q", number, architecture, 0, *padded)


@pytest.mark.parametrize(("machine", "facts"), [("x86_64", X86), ("aarch64", ARM)])
@pytest.mark.parametrize(
    ("stream", "owner", "expected"),
    [
        (0, FIRST_ID, REFUSE),
        (2, FIRST_ID + 1000, REFUSE),
        (1, 0xFFFF_FFFE, REFUSE),
        (3, FIRST_ID, ALLOW),
        (0, 0, ALLOW),
        (0, 65_535, ALLOW),
        (0, FIRST_ID - 1, ALLOW),
    ],
)
def test_streams_stay_with_their_owner(
    machine: str, facts: tuple[int, int], stream: int, owner: int, expected: int
) -> None:
    program = ownership.keep_stdio(machine)
    assert run(program, call(*facts, stream, owner, owner)) == expected


@pytest.mark.parametrize(
    ("architecture", "number"),
    [(X86[0], 92), (X86[0], 94), (ARM[0], 93), (0x4000_0003, 93)],
)
def test_other_calls_are_not_touched(architecture: int, number: int) -> None:
    program = ownership.keep_stdio("x86_64")
    assert run(program, call(architecture, number, 0, FIRST_ID)) == ALLOW


def test_an_unknown_machine_is_named() -> None:
    with pytest.raises(Unavailable, match="riscv64"):
        ownership.keep_stdio("riscv64")
