"""`gaia keys update|rotate`: over the REST API, with a key that may."""

import datetime as dt
import uuid
from typing import Annotated, Any

import typer

from deploy.cli.keys_options import Models, MonthlyBudget, RequestsPerMinute, TokensPerMinute, limits_of
from deploy.cli.options import DEFAULT_HOME, DEFAULT_URL, AsJson, HomeFolder, Key, Url, Yes

COLUMNS = ("id", "name", "scopes", "allowed_models", "limits", "is_active", "expires_at")
Id = Annotated[uuid.UUID, typer.Argument(help="Id of the key, as `gaia keys list` shows it.")]


def update(
    key_id: Id,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="What it may do, instead; may be repeated.")] = None,
    model: Models = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="Let it use every model.")] = False,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    monthly_budget: MonthlyBudget = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="Take away all limits but those given here.")] = False,
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="When it ends.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Changes what is given of a key, and nothing else."""
    from deploy.cli.calling import edge_of, show
    from deploy.local.errors import StackError

    body: dict[str, Any] = {}
    if name is not None:
        body["name"] = name
    if scope:
        body["scopes"] = scope
    if model or all_models:
        body["allowed_models"] = [] if all_models else model
    limits = limits_of(requests_per_minute, tokens_per_minute, monthly_budget)
    mask = [*body, *(["limits"] if no_limits else [f"limits.{limit}" for limit in limits])]
    if limits or no_limits:
        body["limits"] = limits
    if expires_in_days is not None:
        body["expires_at"] = (dt.datetime.now(dt.UTC) + dt.timedelta(days=expires_in_days)).isoformat()
        mask.append("expires_at")
    if not mask:
        raise StackError("nothing to change; `gaia keys update --help` lists what can be")
    params = {"update_mask": ",".join(mask)}
    changed = edge_of(url, key, home).call("PATCH", f"/api/v1/api-keys/{key_id}", params=params, body=body)
    show([changed], COLUMNS, as_json=as_json)


def rotate(
    key_id: Id,
    grace_seconds: Annotated[
        int | None, typer.Option(min=0, help="How long the old secret works on; default: a day; 0 ends it at once.")
    ] = None,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Gives a key a new secret and shows it, this once; the old one works on for the time of grace."""
    from deploy.cli.calling import edge_of
    from deploy.cli.output import note, show_json

    edge = edge_of(url, key, home)
    if grace_seconds == 0 and not yes:
        found = edge.call("GET", f"/api/v1/api-keys/{key_id}")
        shown = f"{found['prefix']}…{found['last_four']}"
        typer.confirm(f"End the secret {shown} of {found['name']!r} at once, whoever uses it?", abort=True, err=True)
    body = {} if grace_seconds is None else {"grace_seconds": grace_seconds}
    rotated = edge.call("POST", f"/api/v1/api-keys/{key_id}:rotate", body=body)
    if as_json:
        show_json([rotated])
        return
    print(rotated["key"])
    end = rotated.get("previous_secret_expires_at")
    note(f"the key is shown this once; the old secret {f'works until {end}' if end else 'has ended'}")
