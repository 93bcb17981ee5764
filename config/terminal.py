"""Lines for a person at a terminal, and for a file or a pipe where there is none.

Invariant: without a terminal, or with NO_COLOR, nothing but plain lines is written.
"""

import os
import sys

import click


class Terminal:
    """Standard output. One live line at its end may be written again and again."""

    def __init__(self) -> None:
        self._is_tty = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._live = False

    def bold(self, text: str) -> str:
        return click.style(text, bold=True) if self._is_tty and "NO_COLOR" not in os.environ else text

    def line(self, text: str) -> None:
        self._clear()
        click.echo(text)

    def live(self, text: str) -> None:
        """Shown until the next line; not at all without a terminal."""
        self._clear()
        if self._is_tty and text:
            click.echo(text, nl=False)
            self._live = True

    def _clear(self) -> None:
        if self._live:
            click.echo("\r\x1b[2K", nl=False)
            self._live = False
