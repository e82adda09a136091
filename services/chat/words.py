"""Keeping words, and JSON objects, whole in a stream of text."""

import re

MAX_HELD = 256
"""Characters after which a word without end (an address, base64) is passed on in pieces."""
MAX_HELD_UNSPACED = 32
"""The same for text in other scripts than the Latin one, some of which put no white space between words."""
MAX_HELD_OBJECT = 8192
"""The same for a JSON object: larger than any command to a scene or a tool, and soon enough for a reader."""

_STEP = re.compile(r"[\s{]")
_OPENING = re.compile(r"\{\s*(\"|\Z)")
_INSIDE = re.compile(r"[\"{}]")
_QUOTED = re.compile(r"[\"\\]")


class WholeWords:
    """Passes text on in whole words, each with the white space behind it: a word's beginning waits for its end.

    A brace before a quotation mark begins a JSON object, which counts as one word with all of its white space.
    """

    def __init__(self) -> None:
        self._held = ""
        self._at = 0
        self._depth = 0
        self._quoted = False

    def add(self, text: str) -> str:
        """Takes a piece and returns what is whole by now, which may be nothing."""
        whole = self._held + text
        end = self._scan(whole)
        rest = whole[end:]
        longest = MAX_HELD_OBJECT if self._depth else MAX_HELD if rest.isascii() else MAX_HELD_UNSPACED
        if len(rest) > longest:
            end, rest = len(whole), ""
            self._at, self._depth, self._quoted = end, 0, False
        self._held = rest
        self._at -= end
        return whole[:end]

    def rest(self) -> str:
        """Returns what is left at the end."""
        held = self._held
        self._held, self._at, self._depth, self._quoted = "", 0, 0, False
        return held

    def _scan(self, whole: str) -> int:
        """Goes on from where the last piece ended, and returns where the last whole word ends; 0 for none."""
        end = 0
        while True:
            pattern = _STEP if not self._depth else _QUOTED if self._quoted else _INSIDE
            match = pattern.search(whole, self._at)
            if match is None:
                self._at = len(whole)
                return end
            self._at = match.end()
            if self._depth:
                if match[0] == "\\" and match.end() == len(whole):
                    # What it escapes is still to come.
                    self._at = match.start()
                    return end
                self._inside(match[0])
            elif match[0] != "{":
                end = match.end()
            elif (opening := _OPENING.match(whole, match.start())) is not None:
                if not opening[1]:
                    # What follows the brace is still to come.
                    self._at = match.start()
                    return end
                self._depth = 1

    def _inside(self, sign: str) -> None:
        match sign:
            case "\\":
                self._at += 1
            case '"':
                self._quoted = not self._quoted
            case "{":
                self._depth += 1
            case _:
                self._depth -= 1
