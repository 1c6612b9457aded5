"""A progress bar while an image is built, and nothing when there is nothing to build."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def image_progress() -> Iterator[Callable[[float, str], None]]:
    """Yield a function to call with the fraction done and what is being done."""
    shown = _Bar()
    try:
        yield shown.update
    finally:
        shown.stop()


class _Bar:
    """Draws itself at the first update: a cached image needs no bar."""

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._draw: Callable[[float, str], None] | None = None

    def update(self, fraction: float, text: str) -> None:
        """Show that *fraction* (0 to 1) is done, and *text*."""
        if self._draw is None:
            self._draw = self._start()
        self._draw(fraction, text)

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._stop is not None:
            self._stop()

    def _start(self) -> Callable[[float, str], None]:
        # Imported for the one start in a hundred that builds an image.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if not sys.stderr.isatty():
            sys.stderr.write("stockade: building the image, once; this takes a while\n")
            return lambda _fraction, _text: None
        progress = Progress(
            TextColumn("stockade: building the image"),
            BarColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        )
        task = progress.add_task("", total=1.0)
        progress.start()
        self._stop = progress.stop
        return lambda fraction, text: progress.update(
            task, completed=fraction, description=text[:60]
        )
