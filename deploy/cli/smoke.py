"""`gaia test`: asks a running platform for what its clients will ask."""

import enum
from typing import Annotated

import typer

from deploy.cli.options import DEFAULT_HOME, DEFAULT_URL, AsJson, HomeFolder, Key, Url


class Check(enum.StrEnum):
    """What can be tested."""

    HEALTH = "health"
    PROVIDERS = "providers"
    MODELS = "models"
    CHAT = "chat"
    STREAM = "stream"
    ASSETS = "assets"
    ALL = "all"


def run(
    checks: Annotated[list[Check] | None, typer.Argument(help="What to test; default: all.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    provider: Annotated[
        str, typer.Option(help="Provider that chat and stream ask; all but `local` cost money.")
    ] = "local",
    as_json: AsJson = False,
) -> None:
    """Tests a running platform, prints a table, and exits with 1 when anything failed.

    chat and stream leave their question in the key's default conversation.
    """
    from deploy.cli.checks import Context, run_check
    from deploy.cli.client import Edge, key_for
    from deploy.cli.output import show_json, show_rows

    wanted = [
        check for check in Check if check is not Check.ALL and (not checks or Check.ALL in checks or check in checks)
    ]
    # /health is for everybody: without a key it can still be tested.
    api_key = key if wanted == [Check.HEALTH] else key_for(url, key, home)
    context = Context(Edge(url, api_key), provider)
    results = [run_check(context, check) for check in wanted]
    rows = [
        {
            "test": one.name,
            "result": "ok" if one.ok else "FAILED",
            "ms": round(one.seconds * 1000),
            "detail": one.detail,
        }
        for one in results
    ]
    if as_json:
        show_json(rows)
    else:
        show_rows(rows, ("test", "result", "ms", "detail"))
    if not all(one.ok for one in results):
        raise typer.Exit(1)
