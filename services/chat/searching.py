"""Writing what a user looks for as the index of messages has it: see the function `search_words` of the database."""

import re
from collections.abc import Sequence

_WORDLESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
"""Characters of scripts that put no spaces between words, or attach other words to them."""
_CHARACTER = re.compile(f"([{_WORDLESS}])")
_TERM = re.compile(r'-?"[^"]*"?|[^\s"]+')
_JOINTS = str.maketrans("_./@:", "     ")
"""What joins words to names and addresses."""


def search_terms(words: str) -> str:
    """Returns words for Postgres's `websearch_to_tsquery`: a term of several words of the index becomes a phrase."""
    return _TERM.sub(_written, words)


def _written(term: re.Match[str]) -> str:
    text = term[0]
    sign = "-" if text.startswith("-") else ""
    parts = _parts(text.removeprefix("-").strip('"'))
    if not parts:
        return ""
    return f'{sign}"{" ".join(parts)}"' if len(parts) > 1 or '"' in text else f"{sign}{parts[0]}"


def _parts(text: str) -> Sequence[str]:
    return _CHARACTER.sub(r" \1 ", text.translate(_JOINTS)).split()
