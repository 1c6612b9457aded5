"""libnftables by ctypes: one transaction a call.

A call takes 0.1 ms, an `nft` process 3 ms.

The caller enters the namespace first. Each call has a context of its own, so that the
library's netlink socket is opened in that namespace and closed again with the call: no
descriptor of it is left for another process to inherit.
"""

from __future__ import annotations

import ctypes
import json
import threading
from functools import cache
from typing import Any

from stockade.errors import EnforcementError

_SONAME = "libnftables.so.1"
# enum nft_output flags, nftables/libnftables.h
_OUTPUT_JSON = 1 << 4

# The library's parser and its cache of interface names are global.
_lock = threading.Lock()


def apply(text: str) -> None:
    """Apply *text* to the namespace this thread is in: all of it, or nothing."""
    _run(text, flags=0)


def ruleset() -> list[dict[str, Any]]:
    """List the live ruleset of the namespace this thread is in, as nft's JSON."""
    output = _run("list ruleset", flags=_OUTPUT_JSON)
    objects: list[dict[str, Any]] = json.loads(output)["nftables"]
    return objects


def counters(table: str) -> dict[str, int]:
    """The packets each named counter of the inet *table* has seen."""
    output = _run(f"list counters table inet {table}", flags=_OUTPUT_JSON)
    found = [entry.get("counter") for entry in json.loads(output)["nftables"]]
    return {counter["name"]: int(counter["packets"]) for counter in found if counter}


def _run(text: str, *, flags: int) -> str:
    library = _load()
    with _lock:
        context = ctypes.c_void_p(library.nft_ctx_new(0))
        if context.value is None:
            raise EnforcementError("libnftables cannot start: no netlink socket")
        try:
            library.nft_ctx_output_set_flags(context, flags)
            library.nft_ctx_buffer_output(context)
            library.nft_ctx_buffer_error(context)
            failed = library.nft_run_cmd_from_buffer(context, text.encode())
            output = library.nft_ctx_get_output_buffer(context) or b""
            error = library.nft_ctx_get_error_buffer(context) or b""
        finally:
            library.nft_ctx_free(context)
    if failed:
        said = error.decode(errors="replace").strip()
        raise EnforcementError(f"the kernel did not take the ruleset: {said}")
    decoded: str = output.decode(errors="replace")
    return decoded


@cache
def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_SONAME)
    except OSError:
        raise EnforcementError(
            f"{_SONAME} is not installed; `stockade doctor` names the package"
        ) from None
    context = ctypes.c_void_p
    library.nft_ctx_new.restype = context
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        function = getattr(library, name)
        function.restype = ctypes.c_char_p
        function.argtypes = [context]
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [context]
    library.nft_ctx_free.restype = None
    library.nft_ctx_output_set_flags.argtypes = [context, ctypes.c_uint]
    library.nft_ctx_output_set_flags.restype = None
    library.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    return library
