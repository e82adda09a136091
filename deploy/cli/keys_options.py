"""Options that say what a key may use."""

from typing import Annotated, Any

import typer

Models = Annotated[list[str] | None, typer.Option("--model", help="A model that it may use; may be repeated.")]
RequestsPerMinute = Annotated[int | None, typer.Option(min=1, help="Most requests a minute.")]
TokensPerMinute = Annotated[int | None, typer.Option(min=1, help="Most tokens a minute.")]
MonthlyBudget = Annotated[float | None, typer.Option(min=0, help="Most US dollars a month.")]


def limits_of(
    requests_per_minute: int | None, tokens_per_minute: int | None, monthly_budget: float | None
) -> dict[str, Any]:
    """Returns the limits that were given, as the API takes them."""
    given = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "monthly_budget_usd": monthly_budget,
    }
    return {name: value for name, value in given.items() if value is not None}
