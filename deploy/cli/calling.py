"""What the commands share that call the REST API."""

from collections.abc import Sequence
from typing import Any

from deploy.cli.client import Edge, key_for
from deploy.cli.options import HomeFolder
from deploy.cli.output import show_json, show_rows
from deploy.local.errors import StackError


def edge_of(url: str, key: str | None, home: HomeFolder) -> Edge:
    """Returns a client of the edge with the key to call with. Raises StackError when there is none."""
    return Edge(url, key_for(url, key, home))


def user_id_of(edge: Edge, user: str) -> str:
    """Returns the id of a user given by id or email address. Raises StackError when there is none."""
    if "@" not in user:
        return user
    for found in edge.pages("/api/v1/users", "users", {}):
        if found["email"].lower() == user.lower():
            return str(found["id"])
    raise StackError(f"--user: there is no user {user}; `gaia users list` shows all")


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Prints rows for people or for programs."""
    if as_json:
        show_json(list(rows))
    else:
        show_rows(rows, columns)
