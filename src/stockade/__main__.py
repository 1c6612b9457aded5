"""`python -m stockade`: the command line without its entry point."""

from __future__ import annotations

from stockade.cli.main import main

if __name__ == "__main__":
    main()
