"""Where plans and json_format read JSON differently on purpose: an example of each reason, and that it is so."""

import json
from typing import Any

import pytest

from edge.transcoding.codec import Codec, JsonOptions
from edge.transcoding.json_plan import PlanCodec
from edge.transcoding.json_reference import ReferenceCodec
from edge.transcoding.schema import Schema
from edge.transcoding.violations import BindingError
from tests.support.json_divergences import REASONS, divergences
from tests.support.kinds import kind, make

TAKEN, REFUSED = "taken by plans alone", "refused by plans alone"

EXAMPLES = [
    ("alias", '{"int32_field": 1, "int32Field": 2}', REFUSED),
    ("any", '{"any": {"@type": "test.kinds.v1.Inner"}}', REFUSED),
    ("any", '{"any": {"@type": "x/google.protobuf.Duration", "value": "1s", "more": 1}}', REFUSED),
    ("base64", '{"bytes_field": "Q!Q=="}', REFUSED),
    ("base64", '{"bytes_field": "QQ===="}', REFUSED),
    ("bool as number", '{"double_field": true}', REFUSED),
    ("bool as number", '{"color": true}', REFUSED),
    ("date", '{"created_at": "2024-5-7T1:2:3Z"}', REFUSED),
    ("date", '{"created_at": "2024-05-07T01:02:03+24:00"}', REFUSED),
    ("duration", '{"max_wait": "1.0000000001s"}', REFUSED),
    ("duration", '{"max_wait": "315576000000.5s"}', REFUSED),
    ("enum number", '{"color": 1.9}', REFUSED),
    ("extension name", '{"[a.b]": 1}', TAKEN),
    ("field mask", '{"mask": "display_name"}', TAKEN),
    ("field mask", '{"mask": "a,,b"}', REFUSED),
    ("float range", '{"double_field": "1e999"}', REFUSED),
    ("float range", '{"float_field": 3.4028235e38}', TAKEN),
    ("float range", '{"value": [1e999]}', REFUSED),
    ("map key", '{"by_number": {"1": {}, "01": {}}}', REFUSED),
    ("map key", '{"shades_by_number": {"9999999999": "PINK"}}', REFUSED),
    ("map key", '{"by_number": {"1.0": {}}}', REFUSED),
    ("message", '{"inner": []}', REFUSED),
    ("message", '{"inner": ""}', REFUSED),
    ("message", "[]", REFUSED),
    ("null value", '{"nothing": null, "name": "x"}', REFUSED),
    ("null value", '{"list": [null], "value": null, "nothing": null, "number": null}', None),
    ("number text", '{"int32_field": "1_0"}', REFUSED),
    ("number text", '{"double_field": "inf"}', REFUSED),
    ("number text", '{"double_field": " 1"}', REFUSED),
    ("wide number", '{"int64_field": 9223372036854775807.0}', TAKEN),
]


def reads(codec: Codec, body: str, options: JsonOptions) -> bool:
    try:
        codec.decoder(kind("Kinds"), options)(body.encode(), make("Kinds"))
    except BindingError:
        return False
    return True


@pytest.mark.parametrize(("reason", "body", "how"), EXAMPLES, ids=[f"{r} {b}" for r, b, _ in EXAMPLES])
def test_a_deliberate_difference_is_as_listed(reason: str, body: str, how: str | None) -> None:
    options = JsonOptions(
        ignore_unknown=reason == "extension name" or "PINK" in body, ignore_unknown_enums="PINK" in body
    )
    expected: Any = {TAKEN: (True, False), REFUSED: (False, True), None: (True, True)}[how]
    assert (reads(PlanCodec(), body, options), reads(ReferenceCodec(), body, options)) == expected
    assert reason in set(divergences(Schema().message(kind("Kinds")), json.loads(body)))


def test_every_reason_has_an_example() -> None:
    assert {reason for reason, _, _ in EXAMPLES} == REASONS.keys()
