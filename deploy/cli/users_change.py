"""`gaia users update|deactivate`: over the REST API, with a key that may."""

from typing import Annotated, Any

import typer

from deploy.cli.options import DEFAULT_HOME, DEFAULT_URL, AsJson, HomeFolder, Key, Url, Yes

COLUMNS = ("id", "email", "name", "is_active", "monthly_budget_usd")
User = Annotated[str, typer.Argument(help="Email address or id.")]


def update(
    user: User,
    name: Annotated[str | None, typer.Option(help="Name to show.")] = None,
    active: Annotated[
        bool, typer.Option("--active", help="Let the user have keys again; old ones stay revoked.")
    ] = False,
    monthly_budget: Annotated[
        float | None, typer.Option(min=0, help="Most US dollars a month, all keys together.")
    ] = None,
    no_budget: Annotated[bool, typer.Option("--no-budget", help="Take the monthly budget away.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Changes what is given of a user, and nothing else."""
    from deploy.cli.calling import edge_of, show, user_id_of
    from deploy.local.errors import StackError

    body: dict[str, Any] = {}
    if name is not None:
        body["name"] = name
    if active:
        body["is_active"] = True
    if monthly_budget is not None and no_budget:
        raise StackError("--monthly-budget, --no-budget: give one of them")
    if monthly_budget is not None or no_budget:
        body["monthly_budget_usd"] = monthly_budget
    if not body:
        raise StackError("nothing to change; `gaia users update --help` lists what can be")
    edge = edge_of(url, key, home)
    path = f"/api/v1/users/{user_id_of(edge, user)}"
    changed = edge.call("PATCH", path, params={"update_mask": ",".join(body)}, body=body)
    show([changed], COLUMNS, as_json=as_json)


def deactivate(
    user: User,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Makes a user inactive and revokes all of its keys for good; what the user owns stays."""
    from deploy.cli.calling import edge_of, show, user_id_of

    edge = edge_of(url, key, home)
    path = f"/api/v1/users/{user_id_of(edge, user)}"
    if not yes:
        found = edge.call("GET", path)
        typer.confirm(f"Deactivate {found['email']} and revoke all of its keys for good?", abort=True, err=True)
    edge.call("DELETE", path)
    if as_json:
        show([edge.call("GET", path)], COLUMNS, as_json=True)
        return
    print(f"deactivated {path.rpartition('/')[2]}")
