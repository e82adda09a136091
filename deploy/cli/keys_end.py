"""`gaia keys revoke|delete`: over the REST API, with a key that may."""

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.options import DEFAULT_HOME, DEFAULT_URL, AsJson, HomeFolder, Key, Url, Yes

if TYPE_CHECKING:
    from deploy.cli.client import Edge

COLUMNS = ("id", "name", "prefix", "last_four", "is_active")
Id = Annotated[uuid.UUID, typer.Argument(help="Id of the key, as `gaia keys list` shows it.")]


def revoke(
    key_id: Id,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Revokes a key for good; within a second nobody can use it any more. It stays in lists."""
    from deploy.cli.calling import edge_of, show

    edge = edge_of(url, key, home)
    if not yes:
        _confirm("Revoke", _found(edge, key_id))
    revoked = edge.call("POST", f"/api/v1/api-keys/{key_id}:revoke", body={})
    if as_json:
        show([revoked], COLUMNS, as_json=True)
        return
    print(f"revoked {key_id}")


def delete(
    key_id: Id,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Ends a key like `revoke` and takes it out of every list; the audit trail keeps what it did."""
    from deploy.cli.calling import edge_of, show

    edge = edge_of(url, key, home)
    found = _found(edge, key_id)
    if not yes:
        _confirm("Delete", found)
    edge.call("DELETE", f"/api/v1/api-keys/{key_id}")
    if as_json:
        show([{**found, "is_active": False}], COLUMNS, as_json=True)
        return
    print(f"deleted {key_id}")


def _found(edge: "Edge", key_id: uuid.UUID) -> dict[str, Any]:
    found: dict[str, Any] = edge.call("GET", f"/api/v1/api-keys/{key_id}")
    return found


def _confirm(what: str, key: dict[str, Any]) -> None:
    # Asked where errors go, so that `--json` prints nothing but JSON.
    typer.confirm(f"{what} {key['name']!r} ({key['prefix']}…{key['last_four']}) for good?", abort=True, err=True)
