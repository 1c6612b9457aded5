"""`python -m fuzz.engine TARGET [libFuzzer options] [folders]`: one target under atheris.

Only the modules of stockade are instrumented: what an oracle does is no coverage of ours.
"""

from __future__ import annotations

import logging
import sys

import atheris


def main() -> None:
    """Run until the options of libFuzzer say stop. Does not return."""
    logging.disable()
    sys.unraisablehook = lambda _: None  # OpenSSL's callback with a name in no encoding
    with atheris.instrument_imports(include=["stockade"]):
        from fuzz.catalog import TARGETS
        from fuzz.target import Thoroughness
    Thoroughness.is_sparing = True
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
