"""`gaia usage`: what calls used and cost, and whether the ledger adds up."""

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.options import DEFAULT_HOME, DEFAULT_URL, AsJson, HomeFolder, Key, Url

if TYPE_CHECKING:
    from services.chat.reconciling import Report

app = typer.Typer(name="usage", help="Shows what calls used and cost.", no_args_is_help=True)

_COLUMNS = ("group", "requests", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "unpriced_requests")


@app.command("show")
def show_usage(
    by: Annotated[str, typer.Option(help="Sum up by key, user, model, provider or day.")] = "model",
    since: Annotated[str | None, typer.Option("--from", help="A date (UTC). Default: this month.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="A date (UTC), not included. Default: now.")] = None,
    user: Annotated[str | None, typer.Option(help="Only calls of this user: an email address or an id.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    home: HomeFolder = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Sums up calls; administrators see those of everybody."""
    from deploy.cli.calling import edge_of, show, user_id_of

    edge = edge_of(url, key, home)
    given = {"from": since, "to": until, "user_id": None if user is None else user_id_of(edge, user)}
    params = {"group_by": by, **{name: value for name, value in given.items() if value is not None}}
    show(edge.call("GET", "/api/v1/usage", params=params)["rows"], _COLUMNS, as_json=as_json)


@app.command("reconcile")
def reconcile(
    months: Annotated[int, typer.Option(min=1, max=24, help="How many months back, the current one included.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Recomputes costs and balances from the ledger and reports every difference; exit code 1 when there is one.

    DATABASE_URL is the owner's, or the local stack runs. It changes nothing. Calls that go on meanwhile may show as a
    difference of what is reserved.
    """
    from deploy.cli.database import owner_database_url
    from deploy.cli.output import note, show_json, show_rows

    report = asyncio.run(_reconciled(owner_database_url(), months))
    differences = [
        {"what": one.what, "booked": _text(one.booked), "computed": _text(one.computed)}
        for one in (*report.costs, *report.balances)
    ]
    summary: dict[str, Any] = {
        "calls": report.calls,
        "cost_usd": _text(report.cost),
        "unpriced": report.unpriced,
        "estimated": report.estimated,
        "interrupted": report.interrupted,
        "differences": report.different,
    }
    if as_json:
        show_json({**summary, "details": differences})
    else:
        show_rows([summary], list(summary))
        if differences:
            show_rows(differences, ["what", "booked", "computed"])
        else:
            note("everything adds up")
    if not report.is_clean:
        raise typer.Exit(1)


async def _reconciled(url: str, months: int) -> "Report":
    import asyncpg
    import orjson

    from services.chat.reconciling import Booked, Reconciler
    from services.chat.usage import month_of
    from services.chat.usage_postgres import SQL

    begin, end = month_of(dt.datetime.now(dt.UTC))
    for _ in range(months - 1):
        begin = month_of(begin - dt.timedelta(days=1))[0]
    connection = await asyncpg.connect(url)
    try:
        reconciler = Reconciler()
        # One snapshot, so that a call that is booked meanwhile is seen wholly or not at all.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            async for row in connection.cursor(SQL["read_ledger"], begin, end, prefetch=1000):
                pricing = None if row["pricing"] is None else orjson.loads(row["pricing"])
                booked = Booked(
                    row["id"],
                    row["created_at"],
                    row["user_id"],
                    row["api_key_id"],
                    row["state"],
                    row["cost_usd"],
                    pricing,
                    row["input_tokens"],
                    row["output_tokens"],
                )
                reconciler.add(booked, is_estimate=row["is_estimate"])
            balances = await connection.fetch(SQL["read_all_balances"], begin.date(), end.date())
            reserved = await connection.fetch(SQL["read_open_amounts"], begin.date(), end.date())
        return reconciler.close(
            {(row["kind"], row["owner"], row["month"]): (row["spent_usd"], row["reserved_usd"]) for row in balances},
            {(row["kind"], row["owner"], row["month"]): row["amount"] for row in reserved},
        )
    finally:
        await connection.close()


def _text(amount: Any) -> str | None:
    return None if amount is None else f"{amount.normalize():f}"
