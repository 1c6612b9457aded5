"""Who a devbox runs as: a name or a number, looked up in the image's own files."""

from __future__ import annotations

import contextlib

from stockade.errors import InvalidRequest
from stockade.runtime.bundle import BoxUser
from stockade.runtime.tree import Tree

_MAX_ID = 0xFFFF


def find_user(tree: Tree, wanted: str) -> BoxUser:
    """Resolve *wanted*, `name`, `uid` or `uid:gid`, in the image below *tree*.

    A number needs no entry: it then has the group 0 and the home `/`.
    """
    name, _, group = wanted.partition(":")
    entries = list(_entries(tree, "/etc/passwd", 7))
    number = _number(name)
    for fields in entries:
        if fields[0] == name or (number is not None and _number(fields[2]) == number):
            uid, gid = _number(fields[2]), _number(fields[3])
            if uid is None or gid is None:
                continue  # an id that a devbox does not have
            home = fields[5] if fields[5].startswith("/") else "/"
            if group:
                return BoxUser(fields[0], uid, _group(tree, group), (), home)
            return BoxUser(fields[0], uid, gid, _memberships(tree, fields[0]), home)
    if number is None:
        known = ", ".join(sorted(fields[0] for fields in entries)[:40]) or "none"
        raise InvalidRequest(
            f"the image has no user {name!r}; its users are: {known}. "
            "A number (uid or uid:gid) works without an entry"
        )
    return BoxUser(name, number, _group(tree, group) if group else 0, (), "/")


def find_account(tree: Tree, name: str, uid: int, home: str) -> BoxUser:
    """Look up the groups of *name* in the image; without an entry, one of its number.

    What is written there cannot make it another user than *uid*, or keep it out.
    """
    if not 0 <= uid <= _MAX_ID:
        raise InvalidRequest(f"not the number of a user: {uid}")
    with contextlib.suppress(InvalidRequest):
        return _account(tree, name, uid, home)
    return BoxUser(name, uid, uid, (), home)


def _account(tree: Tree, name: str, uid: int, home: str) -> BoxUser:
    for fields in _entries(tree, "/etc/passwd", 7):
        gid = _number(fields[3])
        if fields[0] == name and _number(fields[2]) == uid and gid is not None:
            return BoxUser(name, uid, gid, _memberships(tree, name), home)
    return BoxUser(name, uid, uid, (), home)


def _group(tree: Tree, wanted: str) -> int:
    number = _number(wanted)
    if number is not None:
        return number
    for fields in _entries(tree, "/etc/group", 4):
        found = _number(fields[2])
        if fields[0] == wanted and found is not None:
            return found
    raise InvalidRequest(f"the image has no group {wanted!r}; give its number")


def _memberships(tree: Tree, name: str) -> tuple[int, ...]:
    found = {
        number
        for fields in _entries(tree, "/etc/group", 4)
        if name in fields[3].split(",") and (number := _number(fields[2])) is not None
    }
    return tuple(sorted(found))


def _entries(tree: Tree, path: str, count: int) -> list[list[str]]:
    """Return the well-formed lines of a colon-separated file of the image."""
    text = (tree.read(path) or b"").decode("utf-8", "replace")
    lines = [line.split(":") for line in text.splitlines()]
    return [fields for fields in lines if len(fields) == count and fields[0]]


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        return None
    return int(text) if int(text) <= _MAX_ID else None
