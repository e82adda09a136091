"""Providers' failures as Gaia's errors."""

import datetime as dt

import pytest

from services.chat.providers.errors import from_status, from_stream, read_retry_after
from shared.errors import (
    BadUpstream,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

NOW = dt.datetime(2026, 1, 1, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidArgument),
        (401, BadUpstream),
        (402, BadUpstream),
        (403, BadUpstream),
        (404, NotFound),
        (408, DeadlineExceeded),
        (413, InvalidArgument),
        (418, BadUpstream),
        (422, InvalidArgument),
        (429, ResourceExhausted),
        (500, BadUpstream),
        (502, BadUpstream),
        (503, Unavailable),
        (504, DeadlineExceeded),
        (529, Unavailable),
    ],
)
def test_a_status_keeps_its_class_and_names_the_provider(status, expected):
    error = from_status("openai", status, "no")
    assert type(error) is expected
    assert "openai" in str(error)
    assert error.metadata["provider"] == "openai"


@pytest.mark.parametrize(
    ("code", "param", "told"),
    [
        (
            "invalid_type",
            "messages[0].content",
            {"provider_code": "invalid_type", "provider_param": "messages[0].content"},
        ),
        (None, None, {}),
        (5, ["x"], {}),
        ("Not a code", "not a place", {}),
        ("sk_abcdefgh123", "sk-abcdefgh123", {}),
    ],
)
def test_what_a_refusal_says_for_programs_is_kept_if_it_is_that(code, param, told):
    for status in (400, 404, 413, 422):
        metadata = from_status("openai", status, "no", code=code, param=param).metadata
        assert {name: value for name, value in metadata.items() if name in ("provider_code", "provider_param")} == told


def test_a_prompt_that_is_too_long_for_claude_has_the_code_that_clients_of_openai_know():
    error = from_status("claude", 400, "prompt is too long: 200001 tokens > 200000 maximum")
    assert error.metadata["provider_code"] == "context_length_exceeded"


def test_a_request_that_is_too_large_has_a_reason_of_its_own():
    assert from_status("claude", 413, "no").reason == "PROVIDER_TOO_LARGE"


def test_a_refused_credential_names_the_setting_and_not_the_message():
    error = from_status("openai", 401, "Incorrect API key provided: sk-live-12345678", setting="OPENAI_API_KEY")
    assert "OPENAI_API_KEY" in str(error)
    assert "sk-live" not in str(error)


def test_a_message_that_is_passed_on_names_no_account():
    error = from_status("openai", 400, "org-abcdefgh123456 may not; key sk-proj-abcdefgh1234 is bad" + "x" * 2000)
    assert "org-abc" not in str(error)
    assert "sk-proj" not in str(error)
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"type": "overloaded_error", "message": "x"}, Unavailable),
        ({"type": "rate_limit_error"}, ResourceExhausted),
        ({"type": "invalid_request_error", "message": "x"}, InvalidArgument),
        ({"type": "authentication_error"}, BadUpstream),
        ({"code": "context_length_exceeded", "type": "x"}, InvalidArgument),
        ({"code": 500}, BadUpstream),
        ({"type": ["odd"]}, BadUpstream),
        ("just a text", BadUpstream),
        (None, BadUpstream),
    ],
)
def test_an_error_inside_of_a_stream_keeps_its_class(told, expected):
    assert type(from_stream("p", told)) is expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "9999999"}, 3600.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after-ms": "x"}, None),
    ],
)
def test_the_wait_is_read_in_all_its_forms_and_bounded(headers, seconds):
    assert read_retry_after(headers, NOW) == seconds


def test_the_wait_is_told_to_the_caller():
    assert from_status("p", 429, "", retry_after=7.0).retry_after == 7.0
    assert from_status("p", 429, "").retry_after == 1.0
    assert from_status("p", 503, "", retry_after=4.0).retry_after == 4.0
