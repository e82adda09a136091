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
from hypothesis import HealthCheck, event, given, note, seed, settings
from hypothesis import strategies as st

from edge.transcoding.codec import Codec, JsonOptions
from edge.transcoding.json_any import type_resolver
from edge.transcoding.json_exact import ExactDecoder
from edge.transcoding.json_plan import PlanCodec
from edge.transcoding.json_reference import ReferenceCodec
from edge.transcoding.schema import Schema
from edge.transcoding.violations import BindingError
from tests.support.json_divergences import divergences
from tests.support.random_protos import TEXTS, contracts, messages, new

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

# What a fault may put in a value's place: the corners of every kind, as JSON text.
ODD_VALUES = (
    *("null", "true", "false", "0", "-0", "1", "-1", "70", "1.0", "1.5", "-0.0", "1e2", "1E-2", "5e-324"),
    *("2147483647", "2147483648", "-2147483649", "4294967296", "9007199254740993", "9223372036854775807"),
    *("9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809"),
    *("9223372036854775807.0", "3.4028235e38", "3.5e38", "1e300", "123456789012345678901234567890"),
    *('""', '"1"', '"-7"', '"1.0"', '"1e3"', '"01"', '" 1"', '"1_0"', '"+1"', '"NaN"', '"Infinity"', '"inf"', '"nan"'),
    *(
        '"true"',
        '"E_ONE"',
        '"E_NONE"',
        '"G_MANY"',
        '"NULL_VALUE"',
        '"QQ=="',
        '"QQ"',
        '"-_8"',
        '"Q"',
        '"QQ===="',
        '"!!"',
    ),
    *('"2024-05-17T09:30:00Z"', '"2024-05-17T09:30:00.123456789+02:00"', '"2024-02-30T00:00:00Z"', '"2024-1-1T0:0:0Z"'),
    *(
        '"0001-01-01T00:00:00+01:00"',
        '"1.5s"',
        '"-0.000000001s"',
        '"1s "',
        '"1h"',
        '"315576000001s"',
        '"a,bC.d"',
        '"b_c"',
    ),
    *(
        "[]",
        "{}",
        "[null]",
        "[1]",
        '["1"]',
        "[true]",
        "[{}]",
        "[[]]",
        '{"a":1}',
        '{"value":1}',
        '{"@type":"x"}',
        '{"1":1}',
    ),
    *('{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}', '{"true":{}}', '{"01":null,"1":2}'),
    *(json.dumps(text) for text in TEXTS),
)
ODD_KEYS = ("a", "bC", "b_c", "unknown", "", "value", "@type", "[t.ext]", "[t.none]", "1", "-0", "true")

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


def test_both_codecs_take_and_refuse_the_same_faulty_json() -> None:
    @ROUND
    @given(st.data(), OPTIONS)
    def check(data: st.DataObject, options: JsonOptions) -> None:
        contract = data.draw(contracts())
        message: Any = data.draw(messages(contract, contract.messages[0]))
        tree = json.loads(PlanCodec().encoder(message.DESCRIPTOR, options)(message))
        fields = Schema().message(message.DESCRIPTOR).by_name
        names = (*ODD_KEYS, *fields, *fields, *fields)
        for _ in range(data.draw(st.integers(1, 3))):
            tree = mutate(data, tree, names)
        body = text_of(tree).encode()
        note(f"{contract}\n{body.decode()}")
        # json_format ignores unknown enum names together with unknown fields.
        options = JsonOptions(ignore_unknown=options.ignore_unknown, ignore_unknown_enums=options.ignore_unknown)
        plan = outcome(PlanCodec(), message, body, options)
        exact = exactly(message, body, options)
        assert (plan is None) == (exact is None)
        assert plan is None or exact is None or same(plan, exact)
        reasons = list(divergences(Schema().message(message.DESCRIPTOR), json.loads(body)))
        if reasons:
            event(f"divergent: {sorted(set(reasons))}")
            return
        reference = outcome(ReferenceCodec(), message, body, options)
        event("refused" if plan is None else "taken")
        assert (plan is None) == (reference is None)
        assert plan is None or reference is None or same(plan, reference)

    rounds(check)


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
        options = JsonOptions()
        plan = outcome(PlanCodec(), message, bytes(body), options)
        exact = exactly(message, bytes(body), options)
        assert (plan is None) == (exact is None)
        assert plan is None or exact is None or same(plan, exact)
        reference = outcome(ReferenceCodec(), message, bytes(body), options)
        if (plan is None) != (reference is None):
            assert list(divergences(Schema().message(message.DESCRIPTOR), json.loads(body)))
        else:
            assert plan is None or reference is None or same(plan, reference)

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


class Raw(str):
    """JSON text that stands for itself in a tree."""

    __slots__ = ()


def text_of(tree: Any) -> str:
    """Return the JSON text of a tree with raw parts."""
    if isinstance(tree, Raw):
        return str(tree)
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{json.dumps(key)} : {text_of(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(text_of, tree)) + "]"
    return json.dumps(tree)


def mutate(data: st.DataObject, tree: Any, names: tuple[str, ...]) -> Any:
    """Return a tree with one part of it, at any depth, replaced, dropped, added or renamed."""
    if isinstance(tree, dict) and data.draw(st.integers(0, 20)):
        changed = dict(tree)
        if not tree or data.draw(st.integers(0, 3)) == 0:
            changed[data.draw(st.sampled_from(names))] = Raw(data.draw(st.sampled_from(ODD_VALUES)))
            return changed
        key = data.draw(st.sampled_from(sorted(tree)))
        action = data.draw(st.sampled_from(("descend", "descend", "replace", "drop", "rename")))
        if action == "descend":
            changed[key] = mutate(data, tree[key], names)
        elif action == "replace":
            changed[key] = Raw(data.draw(st.sampled_from(ODD_VALUES)))
        else:
            del changed[key]
            if action == "rename":
                changed[data.draw(st.sampled_from((*names, key.title(), key.replace("_", ""))))] = tree[key]
        return changed
    if isinstance(tree, list) and tree and data.draw(st.integers(0, 5)):
        index = data.draw(st.integers(0, len(tree) - 1))
        return [*tree[:index], mutate(data, tree[index], names), *tree[index + 1 :]]
    if isinstance(tree, int | float) and not isinstance(tree, bool) and data.draw(st.booleans()):
        return str(tree)
    return Raw(data.draw(st.sampled_from(ODD_VALUES)))
