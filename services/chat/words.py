"""Keeping words whole in a stream of text."""

import re

MAX_HELD = 256
"""Characters after which a word without end (an address, base64) is passed on in pieces."""

# A word ends at white space; scripts that do without it (from the CJK radicals on) may be cut anywhere.
_BOUNDARY = re.compile(r"\s|[\u2e80-\U0010ffff]")


class WholeWords:
    """Passes text on in whole words: what may be the beginning of a longer word waits for its rest."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, text: str) -> str:
        """Takes a piece and returns what is whole by now, which may be nothing."""
        text = self._held + text
        end = 0
        for match in _BOUNDARY.finditer(text, max(0, len(self._held) - 1)):
            end = match.end()
        if len(text) - end > MAX_HELD:
            end = len(text)
        self._held = text[end:]
        return text[:end]

    def rest(self) -> str:
        """Returns what is left at the end."""
        held, self._held = self._held, ""
        return held
