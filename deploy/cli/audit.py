"""`gaia audit`: who did what, over the REST API, with a key that may read it."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli.options import DEFAULT_HOME, DEFAULT_URL, AsJson, HomeFolder, Key, Url

app = typer.Typer(name="audit", help="Shows and exports the audit trail.", no_args_is_help=True)

_COLUMNS = ("created_at", "action", "result", "actor_user_id", "target_type", "target_id", "address", "request_id")
Actor = Annotated[str | None, typer.Option(help="Who did it: an email address or an id.")]
Action = Annotated[str | None, typer.Option(help="What was done, such as api_key.create.")]
Target = Annotated[str | None, typer.Option(help="Id of what it was done to.")]
Result = Annotated[str | None, typer.Option(help="success, or the name of an error.")]
Address = Annotated[str | None, typer.Option(help="Where it came from.")]
Since = Annotated[dt.datetime | None, typer.Option(help="Not before this time (UTC).")]
Until = Annotated[dt.datetime | None, typer.Option(help="Before this time (UTC).")]


@app.command("list")
def list_events(
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    result: Result = None,
    address: Address = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Most entries to show.")] = 50,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Shows the newest entries."""
    from deploy.cli.calling import edge_of, show, user_id_of

    edge = edge_of(url, key, home)
    actor_id = None if actor is None else user_id_of(edge, actor)
    params = {**_params(actor_id, action, target, result, address, since, until), "page_size": limit}
    show(edge.call("GET", "/api/v1/audit", params=params)["events"], _COLUMNS, as_json=as_json)


@app.command("export")
def export(
    output: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    result: Result = None,
    address: Address = None,
    since: Since = None,
    until: Until = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
) -> None:
    """Writes all entries, the newest first, as JSON, one a line."""
    from deploy.cli.calling import edge_of, user_id_of

    edge = edge_of(url, key, home)
    actor_id = None if actor is None else user_id_of(edge, actor)
    params = _params(actor_id, action, target, result, address, since, until)
    lines = edge.lines("/api/v1/audit:export", method="GET", params=params)
    if output is None:
        for line in lines:
            print(line)
        return
    # Written beside it first, so that an export that breaks off is not taken for a whole one.
    partial = output.with_name(f".{output.name}.partial")
    with partial.open("w") as file:
        file.writelines(f"{line}\n" for line in lines)
    partial.replace(output)


def _params(
    actor_id: str | None,
    action: str | None,
    target: str | None,
    result: str | None,
    address: str | None,
    since: dt.datetime | None,
    until: dt.datetime | None,
) -> dict[str, Any]:
    given = {
        "actor_user_id": actor_id,
        "action": action,
        "target_id": target,
        "result": result,
        "address": address,
        "start_time": _utc(since),
        "end_time": _utc(until),
    }
    return {name: value for name, value in given.items() if value is not None}


def _utc(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=dt.UTC).isoformat().replace("+00:00", "Z")
