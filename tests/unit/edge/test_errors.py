"""The shapes of errors that client families read."""

import json

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2

from edge.errors import STYLES, http_status, style_of_path
from edge.transcoding.errors import Status


def packed(message) -> AnyMessage:
    detail = AnyMessage()
    detail.Pack(message)
    return detail


NOT_FOUND = Status(code_pb2.NOT_FOUND, "there is no model x")
BAD_FIELD = Status(
    code_pb2.INVALID_ARGUMENT,
    "messages: must not be empty",
    (
        packed(
            error_details_pb2.BadRequest(field_violations=[{"field": "messages", "description": "must not be empty"}])
        ),
    ),
)
BAD_UPSTREAM = Status(code_pb2.INTERNAL, "nonsense", (packed(error_details_pb2.ErrorInfo(reason="BAD_UPSTREAM")),))


def body(style: str, status: Status, http: int) -> dict:
    media_type, content = STYLES[style].body(status, http, "request-1")
    assert media_type == "application/json"
    return json.loads(content)


def test_the_default_style_repeats_the_message_where_older_clients_look():
    assert body("", NOT_FOUND, 404) == {
        "code": 5,
        "message": "there is no model x",
        "details": [],
        "detail": "there is no model x",
    }


def test_the_plain_style_is_the_message():
    assert body("plain", NOT_FOUND, 404) == {"error": "there is no model x"}


def test_the_openai_style_tells_a_providers_own_code_and_parameter():
    about = {"provider": "openai", "provider_code": "context_length_exceeded", "provider_param": "messages"}
    info = packed(error_details_pb2.ErrorInfo(reason="PROVIDER_REFUSED", metadata=about))
    told = body("openai", Status(code_pb2.INVALID_ARGUMENT, "too long", (info,)), 400)["error"]
    assert (told["code"], told["param"]) == ("context_length_exceeded", "messages")


def test_the_openai_style_calls_an_unknown_model_as_openai_does():
    info = packed(error_details_pb2.ErrorInfo(reason="UNKNOWN_MODEL"))
    told = body("openai", Status(code_pb2.NOT_FOUND, "no model", (info,)), 404)["error"]
    assert (told["code"], told["param"]) == ("model_not_found", None)


def test_the_anthropic_style_tells_the_details_that_its_sdk_goes_by():
    info = packed(error_details_pb2.ErrorInfo(metadata={"provider_details": '{"error_code":"thread_not_found"}'}))
    told = body("anthropic", Status(code_pb2.NOT_FOUND, "no thread", (info,)), 404)["error"]
    assert told["details"] == {"error_code": "thread_not_found"}
    assert "details" not in body("anthropic", NOT_FOUND, 404)["error"]


def test_a_request_that_a_provider_finds_too_large_is_413():
    info = packed(error_details_pb2.ErrorInfo(reason="PROVIDER_TOO_LARGE"))
    assert http_status(Status(code_pb2.INVALID_ARGUMENT, "too large", (info,))) == 413


def test_the_openai_style_names_the_parameter():
    assert body("openai", BAD_FIELD, 400) == {
        "error": {
            "message": "messages: must not be empty",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "invalid_argument",
        }
    }


def test_the_anthropic_style_carries_the_request_id():
    assert body("anthropic", NOT_FOUND, 404) == {
        "type": "error",
        "error": {"type": "not_found_error", "message": "there is no model x"},
        "request_id": "request-1",
    }


def test_a_providers_nonsense_is_502_and_nothing_else_leaves_the_table():
    assert http_status(BAD_UPSTREAM) == 502


def test_an_overload_has_anthropics_own_status():
    details = (packed(error_details_pb2.ErrorInfo(reason="PROVIDER_OVERLOADED")),)
    overloaded = Status(code_pb2.UNAVAILABLE, "busy", details)
    assert http_status(overloaded) == 529
    assert body("anthropic", overloaded, 529)["error"]["type"] == "overloaded_error"
    assert http_status(NOT_FOUND) is None


@pytest.mark.parametrize(
    ("path", "style"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/nothing", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/api/v0.3/chat", "plain"),
        ("/api/v0.2/chat", ""),
        ("/v11", ""),
    ],
)
def test_a_path_without_a_route_answers_like_its_neighbours(path, style):
    assert style_of_path(path) == style


def test_the_native_streams_error_event_names_the_provider():
    info = error_details_pb2.ErrorInfo(reason="PROVIDER_TIMEOUT", metadata={"provider": "openai"})
    status = Status(code_pb2.DEADLINE_EXCEEDED, "openai took too long", (packed(info),))
    assert json.loads(STYLES[""].record(status, 504, "request-1")) == {
        "type": "error",
        "error": "openai took too long",
        "provider": "openai",
        "fallback_available": False,
        "code": 4,
        "request_id": "request-1",
    }
