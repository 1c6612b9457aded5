"""What a box has outside its directory, written down before it exists.

A box whose owner was killed is taken away by what this file says, and by nothing else.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from stockade.errors import Unavailable

_SCHEMA = 1
_FILE = "box.json"


@dataclass(frozen=True, slots=True)
class BoxRecord:
    """One box as the file in its directory tells.

    *container* is its name with the runtime *program*, *disk* where its own files are,
    *reservation* the file that reserves its user ids from *id_base* on, *cgroup* its
    control group ("" without). With *keep_disk* its disk is somebody else's to delete.
    """

    container: str
    program: str
    disk: str
    reservation: str
    id_base: int
    cgroup: str
    keep_disk: bool = False

    def save(self, directory: Path) -> None:
        facts = {"schema": _SCHEMA, **asdict(self)}
        scratch = directory / f"{_FILE}.new"
        scratch.write_text(json.dumps(facts))
        scratch.replace(directory / _FILE)


def load(directory: Path) -> BoxRecord | None:
    """Read the record of a box; None when the box had nothing outside yet."""
    try:
        facts = json.loads((directory / _FILE).read_bytes())
    except FileNotFoundError:
        return None
    if facts.pop("schema", None) != _SCHEMA:
        raise Unavailable(
            f"{directory} was made by another version of stockade: "
            "remove it with that version, or reboot and delete it"
        )
    return BoxRecord(**facts)
