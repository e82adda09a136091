"""Random messages as the requests that Google's client code makes of them, the same in every run.

Enums have values that the contract names, since Envoy refuses all others in a query; the vectors show that.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from google.api_core import rest_helpers
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.differential.outcomes import Request
from tests.support.inverse import KINDS, carried_by, drop_what_a_query_cannot_say, items
from tests.support.scripted import Script

SEED = 20250101


def generated(contract: str, count: int) -> Iterator[Request]:
    """Yield requests for a contract, about as many as asked for."""
    if contract == "routes.proto":
        for number, (path, message) in enumerate(_drawn(items(), count)):
            drop_what_a_query_cannot_say(message)
            yield _request(f"generated: GET {path} #{number}", {"method": "get", "uri": path}, message)
    elif contract == "fields.proto":
        for name, rule in KINDS.items():
            for number, message in enumerate(_drawn(carried_by(rule), count // len(KINDS))):
                _name_enums(message)
                yield _request(f"generated: {name} #{number}", rule, message)


def _name_enums(message: Any) -> None:
    for field, value in message.ListFields():
        if field.enum_type is not None and not field.enum_type.is_closed:
            known = field.enum_type.values_by_number
            if not field.is_repeated:
                setattr(message, field.name, value if value in known else 1)
            else:
                value[:] = [one if one in known else 1 for one in value]
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                _name_enums(one)


def _drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    found: list[Any] = []
    if not count:
        return found

    @seed(SEED)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def _request(name: str, rule: dict[str, str], message: Message) -> Request:
    request, body, query = rest_helpers.transcode_request([rule], message)
    encoded = urlencode(rest_helpers.flatten_query_params(query, strict=True))  # type: ignore[no-untyped-call]
    target = request["uri"] + (f"?{encoded}" if encoded else "")
    headers = [("Content-Type", "application/json")] if body is not None else []
    return Request(name, request["method"].upper(), target, headers, (body or "").encode(), Script())
