"""The plans against the reference: random contracts, random messages, random faults in their JSON.

Takes a few seconds; FUZZ_SECONDS=600 goes on for that long with new examples.
"""

import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from edge.transcoding.codec import Codec, JsonOptions
from edge.transcoding.json_any import type_resolver
from edge.transcoding.json_exact import ExactDecoder
from edge.transcoding.json_plan import PlanCodec
from edge.transcoding.json_reference import ReferenceCodec
from edge.transcoding.schema import Schema
from edge.transcoding.violations import BindingError
from tests.support.json_divergences import divergences
from tests.support.random_json import random_json
from tests.support.random_protos import Contract, contracts, messages, new

BODIES = 25  # a contract costs as much as all these bodies
FUZZ_SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
ROUND = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

OPTIONS = st.builds(
    JsonOptions,
    proto_names=st.booleans(),
    emit_defaults=st.booleans(),
    enum_numbers=st.booleans(),
    ignore_unknown=st.booleans(),
)

# Pieces of JSON, whole and broken, put anywhere into a text.
FRAGMENTS = (
    *(
        b"",
        b" ",
        b"\n",
        b'"',
        b"\\",
        b'\\"',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"null",
        b"NaN",
        b"1",
        b"-",
        b".5",
        b"e9",
    ),
    *(
        b'"":',
        b'"a":',
        b'"a":1,',
        b'"unknown":{}',
        b"\x00",
        b"\xff",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\u00e9",
    ),
    *(b"[" * 60, b"]" * 60, b'{"a":' * 120, b"//", b"'", b"\xef\xbb\xbf", b"1" * 400),
)


def rounds(test: Callable[[], None]) -> None:
    """Run a property once, and on with other seeds for FUZZ_SECONDS."""
    test()
    end = time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < end:
        seed(random.SystemRandom().getrandbits(64))(test)()


def outcome(codec: Codec, message: Any, body: bytes, options: JsonOptions) -> Message | None:
    """Return what a codec makes of a body, None if it refuses."""
    parsed: Message = new(message.DESCRIPTOR)
    try:
        codec.decoder(message.DESCRIPTOR, options)(body, parsed)
    except BindingError:
        return None
    return parsed


def same(left: Message, right: Message) -> bool:
    """Compare by wire bytes; NaN differs from itself, and maps have no order, but for the deterministic form."""
    return left.SerializePartialToString(deterministic=True) == right.SerializePartialToString(deterministic=True)


def test_both_codecs_write_the_same_json_and_read_it_back_to_the_same_message() -> None:
    @ROUND
    @given(st.data(), OPTIONS)
    def check(data: st.DataObject, options: JsonOptions) -> None:
        contract = data.draw(contracts())
        message: Any = data.draw(messages(contract, contract.messages[0]))
        note(f"{contract}\n{message}")
        plan = PlanCodec().encoder(message.DESCRIPTOR, options)(message)
        reference = ReferenceCodec().encoder(message.DESCRIPTOR, options)(message)
        # Text, not values: 1 and 1.0 and true are equal in Python.
        assert json.dumps(json.loads(plan), sort_keys=True) == json.dumps(json.loads(reference), sort_keys=True)
        read_by_plan = outcome(PlanCodec(), message, plan, options)
        read_by_reference = outcome(ReferenceCodec(), message, plan, options)
        assert read_by_plan is not None
        if read_by_reference is not None or not list(
            divergences(Schema().message(message.DESCRIPTOR), json.loads(plan))
        ):
            assert read_by_reference is not None
            assert same(read_by_plan, read_by_reference)

    rounds(check)


def test_both_codecs_take_and_refuse_the_same_json() -> None:
    @ROUND
    @given(contracts(), st.integers(0, 2**64), st.booleans())
    def check(contract: Contract, number: int, tolerant: bool) -> None:
        rng = random.Random(number)
        # json_format ignores unknown enum names together with unknown fields.
        options = JsonOptions(ignore_unknown=tolerant, ignore_unknown_enums=tolerant)
        message = new(contract.messages[0])
        shape = Schema().message(message.DESCRIPTOR)
        for _ in range(BODIES):
            body = random_json(rng, shape)
            note(f"{contract}\n{body}")
            compare(message, body.encode(), options)

    rounds(check)


def compare(message: Any, body: bytes, options: JsonOptions) -> None:
    """Check that plan and exact decoder agree about a body, and the reference too, where it is not known to differ."""
    plan = outcome(PlanCodec(), message, body, options)
    exact = exactly(message, body, options)
    assert (plan is None) == (exact is None)
    assert plan is None or exact is None or same(plan, exact)
    reference = outcome(ReferenceCodec(), message, body, options)
    if (plan is None) == (reference is None) and (plan is None or reference is None or same(plan, reference)):
        return
    assert list(divergences(Schema().message(message.DESCRIPTOR), json.loads(body)))


def test_both_codecs_take_and_refuse_the_same_broken_text() -> None:
    @ROUND
    @given(st.data())
    def check(data: st.DataObject) -> None:
        contract = data.draw(contracts())
        message: Any = data.draw(messages(contract, contract.messages[0]))
        body = bytearray(PlanCodec().encoder(message.DESCRIPTOR, JsonOptions())(message))
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(body)))
            end = min(len(body), start + data.draw(st.integers(0, 2)))
            body[start:end] = data.draw(st.sampled_from(FRAGMENTS))
        note(f"{contract}\n{bytes(body)!r}")
        compare(message, bytes(body), JsonOptions())

    rounds(check)


def exactly(message: Any, body: bytes, options: JsonOptions) -> Message | None:
    """Return what the exact decoder alone makes of a body."""
    decoder = ExactDecoder(options, type_resolver(message.DESCRIPTOR.file.pool))
    parsed: Message = new(message.DESCRIPTOR)
    try:
        decoder.message(Schema().message(message.DESCRIPTOR), body, parsed)
    except BindingError:
        return None
    return parsed
