"""SQL in files: every query has a name and a line on what it does.

-- name: find_user
-- Returns a user by id.
SELECT …;
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_HEAD = re.compile(r"^-- name: ([a-z][a-z0-9_]*)\n-- \S.*\n", re.MULTILINE)


def load_queries(path: Path) -> Mapping[str, str]:
    """Returns the queries of a file by name. Raises ValueError for a name twice or a query without its comment."""
    text = path.read_text()
    heads = list(_HEAD.finditer(text))
    if len(heads) != text.count("-- name:"):
        raise ValueError(f"{path.name}: each query needs `-- name: …` and a comment line on what it does")
    queries: dict[str, str] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        name, end = head[1], following.start() if following else len(text)
        if name in queries:
            raise ValueError(f"{path.name}: two queries are named {name}")
        queries[name] = text[head.end() : end].strip().rstrip(";")
    return MappingProxyType(queries)
