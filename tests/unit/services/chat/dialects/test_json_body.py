"""Bodies of requests, whatever their dialect."""

import orjson
import pytest

from services.chat.dialects import anthropic_messages, openai_chat
from services.chat.dialects.json_body import MAX_DEPTH, read_object
from services.chat.providers import anthropic_request, openai_wire
from shared.errors import InvalidArgument


def nested(levels: int) -> bytes:
    return b'{"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_a_body_is_read_as_deep_as_it_can_be_written():
    assert orjson.dumps(read_object(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    for levels in (MAX_DEPTH + 1, 1000, 2000):
        with pytest.raises(InvalidArgument, match=r"levels deep|is no JSON"):
            read_object(nested(levels))


@pytest.mark.parametrize(("data", "says"), [(b"", "is no JSON"), (b"{", "is no JSON"), (b"[]", "a JSON object")])
def test_what_is_no_object_is_refused(data, says):
    with pytest.raises(InvalidArgument, match=f"body: .*{says}"):
        read_object(data)


def test_the_deepest_schema_can_be_translated_to_the_other_family():
    schema = {"type": "object", "x": orjson.loads(nested(MAX_DEPTH - 6))}
    user = {"role": "user", "content": "x"}
    function = {"type": "function", "function": {"name": "f", "parameters": schema}}
    chat = openai_chat.parse(orjson.dumps({"model": "m", "messages": [user], "tools": [function]}))
    assert anthropic_request.encode_request(chat.translated()[0], "m", stream=False)
    tool = {"name": "f", "input_schema": schema}
    body = {"model": "m", "max_tokens": 1, "messages": [user], "tools": [tool]}
    asked = anthropic_messages.parse(orjson.dumps(body), {}, "r")
    assert openai_wire.encode_request(asked.translated()[0], "m", stream=False, max_tokens_field="max_tokens")
