"""`gaia users` and `gaia keys`: over the REST API, with a key that may."""

import datetime as dt
import uuid
from typing import Annotated, Any

import typer

from deploy.cli.keys_options import Models, MonthlyBudget, RequestsPerMinute, TokensPerMinute, limits_of
from deploy.cli.options import DEFAULT_HOME, DEFAULT_URL, AsJson, HomeFolder, Key, Url

users = typer.Typer(name="users", help="Creates, shows, changes and deactivates users.", no_args_is_help=True)
keys = typer.Typer(
    name="keys", help="Creates, shows, changes, rotates, imports, revokes and deletes API keys.", no_args_is_help=True
)

_USER_COLUMNS = ("id", "email", "name", "is_active", "monthly_budget_usd", "created_at")
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
    from deploy.cli.calling import edge_of, show

    user = edge_of(url, key, home).call("POST", "/api/v1/users", body={"email": email, "name": name})
    show([user], _USER_COLUMNS, as_json=as_json)


@users.command("list")
def list_users(
    url: Url = DEFAULT_URL, key: Key = None, home: HomeFolder = DEFAULT_HOME, as_json: AsJson = False
) -> None:
    """Lists all users, the newest first."""
    from deploy.cli.calling import edge_of, show

    show(edge_of(url, key, home).pages("/api/v1/users", "users", {}), _USER_COLUMNS, as_json=as_json)


@users.command("get")
def get_user(
    user: Annotated[str, typer.Argument(help="Email address or id.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Shows a user."""
    from deploy.cli.calling import edge_of, show, user_id_of

    edge = edge_of(url, key, home)
    show([edge.call("GET", f"/api/v1/users/{user_id_of(edge, user)}")], _USER_COLUMNS, as_json=as_json)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    user: Annotated[str | None, typer.Option(help="Whose it is: an email address or an id; default: yours.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="What it may do; may be repeated.")] = None,
    model: Models = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    monthly_budget: MonthlyBudget = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="When it ends; default: never.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Creates a key and shows it, this once."""
    from deploy.cli.calling import edge_of, show, user_id_of
    from deploy.cli.output import note

    edge = edge_of(url, key, home)
    limits = limits_of(requests_per_minute, tokens_per_minute, monthly_budget)
    body: dict[str, Any] = {"name": name, "scopes": scope or [], "allowed_models": model or [], "limits": limits}
    if user is not None:
        body["user_id"] = user_id_of(edge, user)
    if expires_in_days is not None:
        body["expires_at"] = (dt.datetime.now(dt.UTC) + dt.timedelta(days=expires_in_days)).isoformat()
    created = edge.call("POST", "/api/v1/api-keys", body=body)
    if as_json:
        show([created], _KEY_COLUMNS, as_json=True)
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
    from deploy.cli.calling import edge_of, show, user_id_of

    edge = edge_of(url, key, home)
    params = {} if user is None else {"user_id": user_id_of(edge, user)}
    show(edge.pages("/api/v1/api-keys", "api_keys", params), _KEY_COLUMNS, as_json=as_json)


@keys.command("get")
def get_key(
    key_id: Annotated[uuid.UUID, typer.Argument(help="Id of the key, as `gaia keys list` shows it.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Shows a key and what it may use; the key itself is stored nowhere."""
    from deploy.cli.calling import edge_of, show

    columns = (*_KEY_COLUMNS, "allowed_models", "limits")
    show([edge_of(url, key, home).call("GET", f"/api/v1/api-keys/{key_id}")], columns, as_json=as_json)


@keys.command("signing")
def make_signing_key(as_json: AsJson = False) -> None:
    """Makes a key for GAIA_SIGNING_KEYS, which auth signs identities with."""
    from deploy.cli.output import show_json
    from deploy.cli.preparation import new_signing_key

    seed = new_signing_key()
    if as_json:
        show_json([{"signing_key": seed}])
        return
    print(seed)
