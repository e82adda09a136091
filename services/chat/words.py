"""Keeping words whole in a stream of text."""

import re

MAX_HELD = 256
"""Characters after which a word without end (an address, base64) is passed on in pieces."""
MAX_HELD_UNSPACED = 32
"""The same for text in other scripts than the Latin one, some of which put no white space between words."""

_BOUNDARY = re.compile(r"\s")


class WholeWords:
    """Passes text on in whole words, each with the white space behind it: a word's beginning waits for its end."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, text: str) -> str:
        """Takes a piece and returns what is whole by now, which may be nothing."""
        whole = self._held + text
        end = 0
        for match in _BOUNDARY.finditer(whole, len(self._held)):
            end = match.end()
        rest = whole[end:]
        if len(rest) > (MAX_HELD if rest.isascii() else MAX_HELD_UNSPACED):
            end, rest = len(whole), ""
        self._held = rest
        return whole[:end]

    def rest(self) -> str:
        """Returns what is left at the end."""
        held, self._held = self._held, ""
        return held
