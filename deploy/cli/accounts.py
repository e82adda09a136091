"""`gaia users` and `gaia keys`: over the REST API, with a key that may."""

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.options import DEFAULT_HOME, DEFAULT_URL, AsJson, HomeFolder, Key, Url, Yes

if TYPE_CHECKING:
    from deploy.cli.client import Edge

users = typer.Typer(name="users", help="Creates and lists users.", no_args_is_help=True)
keys = typer.Typer(name="keys", help="Creates, lists and revokes API keys.", no_args_is_help=True)

_USER_COLUMNS = ("id", "email", "name", "is_active", "created_at")
_KEY_COLUMNS = ("id", "name", "prefix", "last_four", "scopes", "is_active", "expires_at", "last_used_at")


@users.command("create")
def create_user(
    email: Annotated[str, typer.Argument(help="Email address.")],
    name: Annotated[str, typer.Option(help="Name to show.")] = "",
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Creates a user."""
    user = _edge(url, key, home).call("POST", "/api/v1/users", body={"email": email, "name": name})
    _show([user], _USER_COLUMNS, as_json=as_json)


@users.command("list")
def list_users(
    url: Url = DEFAULT_URL, key: Key = None, home: HomeFolder = DEFAULT_HOME, as_json: AsJson = False
) -> None:
    """Lists all users, the newest first."""
    _show(_edge(url, key, home).pages("/api/v1/users", "users", {}), _USER_COLUMNS, as_json=as_json)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    user: Annotated[str | None, typer.Option(help="Whose it is: an email address or an id; default: yours.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="What it may do; may be repeated.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="When it ends; default: never.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Creates a key and shows it, this once."""
    from deploy.cli.output import note

    edge = _edge(url, key, home)
    body: dict[str, Any] = {"name": name, "scopes": scope or []}
    if user is not None:
        body["user_id"] = _user_id(edge, user)
    if expires_in_days is not None:
        body["expires_at"] = (dt.datetime.now(dt.UTC) + dt.timedelta(days=expires_in_days)).isoformat()
    created = edge.call("POST", "/api/v1/api-keys", body=body)
    if as_json:
        _show([created], _KEY_COLUMNS, as_json=True)
        return
    print(created["key"])
    note(f"the key is shown this once; its id is {created['id']}, its scopes are {' '.join(created['scopes'])}")


@keys.command("list")
def list_keys(
    user: Annotated[str | None, typer.Option(help="Whose: an email address or an id; default: yours.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Lists keys, the newest first; the keys themselves are stored nowhere."""
    edge = _edge(url, key, home)
    params = {} if user is None else {"user_id": _user_id(edge, user)}
    _show(edge.pages("/api/v1/api-keys", "api_keys", params), _KEY_COLUMNS, as_json=as_json)


@keys.command("revoke")
def revoke_key(
    id: Annotated[uuid.UUID, typer.Argument(help="Id of the key, as `gaia keys list` shows it.")],  # noqa: A002 - its name
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
) -> None:
    """Revokes a key for good; within a second nobody can use it any more."""
    edge = _edge(url, key, home)
    found = edge.call("GET", f"/api/v1/api-keys/{id}")
    if not yes:
        typer.confirm(f"Revoke {found['name']!r} ({found['prefix']}…{found['last_four']}) for good?", abort=True)
    edge.call("DELETE", f"/api/v1/api-keys/{id}")
    print(f"revoked {id}")


@keys.command("signing")
def make_signing_key() -> None:
    """Makes a key for GAIA_SIGNING_KEYS, which auth signs identities with."""
    from deploy.cli.preparation import new_signing_key

    print(new_signing_key())


def _edge(url: str, key: str | None, home: HomeFolder) -> "Edge":
    from deploy.cli.client import Edge, key_for

    return Edge(url, key_for(url, key, home))


def _user_id(edge: "Edge", user: str) -> str:
    """Returns the id of a user given by id or email address. Raises StackError when there is none."""
    from deploy.local.errors import StackError

    if "@" not in user:
        return user
    for found in edge.pages("/api/v1/users", "users", {}):
        if found["email"].lower() == user.lower():
            return str(found["id"])
    raise StackError(f"--user: there is no user {user}; `gaia users list` shows all")


def _show(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    from deploy.cli.output import show_json, show_rows

    if as_json:
        show_json(rows)
    else:
        show_rows(rows, columns)
