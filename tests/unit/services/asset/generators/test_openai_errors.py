"""The SDK's errors in Gaia's terms; what the provider really sends is in the integration tests."""

import email.utils
import time

import httpx2
import openai
import pytest

from services.asset.generators.openai_errors import MAX_QUOTED, MAX_RETRY_SECONDS, RETRY_SECONDS, translate
from shared.errors import InvalidArgument, ResourceExhausted, Unavailable

REQUEST = httpx2.Request("POST", "http://provider.test/v1/images/generations")


def refusal(status: int, message: object = "no", headers: dict[str, str] | None = None) -> openai.APIStatusError:
    response = httpx2.Response(status, headers=headers, request=REQUEST)
    return openai.APIStatusError("no", response=response, body={"message": message, "code": None, "param": None})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17),
        ("0", 0),
        ("1.5", 1.5),
        ("", RETRY_SECONDS),
        ("soon", RETRY_SECONDS),
        ("-3", RETRY_SECONDS),
        ("nan", RETRY_SECONDS),
        ("inf", MAX_RETRY_SECONDS),
        ("99999999", MAX_RETRY_SECONDS),
        (email.utils.formatdate(0, usegmt=True), RETRY_SECONDS),
    ],
)
def test_the_providers_delay_is_passed_on_within_reason(header: str, seconds: float) -> None:
    error = translate(refusal(429, headers={"retry-after": header}), "openai", "m")
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after == seconds


def test_a_delay_may_be_a_date() -> None:
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    error = translate(refusal(503, headers={"retry-after": date}), "openai", "m")
    assert isinstance(error, Unavailable)
    assert error.retry_after == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    ("message", "quoted"),
    [
        ("size\n must  be 1", "openai refused the request: size must be 1"),
        ("key sk-proj-abcdef is wrong", "openai refused the request: key [secret] is wrong"),
        ("key 'sk-abcdef' and gaia_dev_0123", "openai refused the request: key '[secret]' and [secret]"),
        (None, "openai refused the request: it did not say why"),
        ({"a": 1}, "openai refused the request: it did not say why"),
    ],
)
def test_a_refusal_is_quoted_on_one_line_and_without_keys(message: object, quoted: str) -> None:
    error = translate(refusal(400, message), "openai", "m")
    assert isinstance(error, InvalidArgument)
    assert str(error) == quoted


def test_a_long_refusal_is_cut() -> None:
    error = translate(refusal(400, "x" * 10_000), "openai", "m")
    assert len(str(error)) < MAX_QUOTED + 50


def test_no_answer_and_a_slow_answer_are_told_apart() -> None:
    away = translate(openai.APIConnectionError(request=REQUEST), "openai", "m")
    slow = translate(openai.APITimeoutError(REQUEST), "openai", "m")
    unreached = openai.APITimeoutError(REQUEST)
    unreached.__cause__ = httpx2.ConnectTimeout("")
    for error in (away, translate(unreached, "openai", "m")):
        assert (error.code, error.reason) == ("UNAVAILABLE", "PROVIDER_UNAVAILABLE")
    assert (slow.code, slow.reason) == ("DEADLINE_EXCEEDED", "PROVIDER_TIMEOUT")
