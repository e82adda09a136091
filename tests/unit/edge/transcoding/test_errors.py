"""Behaviour of edge/transcoding/errors.py."""

import json

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import code_pb2, error_details_pb2, status_pb2

from edge.transcoding.errors import (
    HTTP_STATUS,
    Code,
    ProblemStyle,
    RpcFailure,
    Status,
    StatusStyle,
    failure_of_binding,
    failure_of_call,
    retry_seconds,
)
from edge.transcoding.violations import BindingError, Violation
from tests.support.contracts import compile_contracts, message_class


def packed(message: object) -> AnyMessage:
    detail = AnyMessage()
    detail.Pack(message)  # type: ignore[arg-type]  # any message
    return detail


def rpc_error(code: grpc.StatusCode, details: str, *trailing: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


def test_the_codes_are_those_of_google_rpc_and_of_grpc() -> None:
    assert {code.name: code.value for code in Code} == dict(code_pb2.Code.items())
    assert {code.value for code in Code} == {code.value[0] for code in grpc.StatusCode}


def test_every_code_has_an_http_status() -> None:
    assert set(HTTP_STATUS) == set(Code)


def test_the_default_body_always_has_code_message_and_details() -> None:
    media_type, body = StatusStyle().body(Status(5, "no such book"), 404, "r1")
    assert media_type == "application/json"
    assert json.loads(body) == {"code": 5, "message": "no such book", "details": []}


def test_known_details_are_written_as_json_and_unknown_ones_kept_in_base64() -> None:
    info = error_details_pb2.ErrorInfo(reason="R", domain="d", metadata={"k": "v"})
    unknown = AnyMessage(type_url="type.googleapis.com/nobody.Knows", value=b"\x08\x01")
    broken = AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    value = StatusStyle().value(Status(3, "m", (packed(info), unknown, broken)))
    assert value["details"] == [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R", "domain": "d", "metadata": {"k": "v"}},
        {"@type": "type.googleapis.com/nobody.Knows", "value": "CAE="},
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "value": "/w=="},
    ]


def test_details_of_the_services_own_types_are_known() -> None:
    pool: DescriptorPool = compile_contracts({"d.proto": 'syntax = "proto3"; package d; message Why { double n = 1; }'})
    detail = packed(message_class(pool, "d.Why")(n=float("inf")))
    assert StatusStyle([pool]).value(Status(3, "m", (detail,)))["details"] == [
        {"@type": "type.googleapis.com/d.Why", "n": "Infinity"}
    ]


def test_a_stream_record_is_one_line() -> None:
    record = StatusStyle().record(Status(8, "a\nb"), 429, "r1")
    assert b"\n" not in record
    assert json.loads(record) == {"error": {"code": 8, "message": "a\nb", "details": []}}


def test_a_problem_document_is_that_of_rfc_9457() -> None:
    media_type, body = ProblemStyle().body(Status(5, "no such book"), 404, "r1")
    assert media_type == "application/problem+json"
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": "no such book",
        "code": "NOT_FOUND",
        "request_id": "r1",
        "details": [],
    }


def test_a_call_keeps_its_status() -> None:
    failure = failure_of_call(rpc_error(grpc.StatusCode.NOT_FOUND, "no such book"))
    assert (failure.status, failure.http_status, failure.headers) == (Status(5, "no such book"), 404, ())


def test_rich_statuses_are_read_and_retry_info_becomes_retry_after() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1200)
    rich = status_pb2.Status(code=8, message="rich", details=[packed(retry)])
    error = rpc_error(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "plain", ("grpc-status-details-bin", rich.SerializeToString())
    )
    failure = failure_of_call(error)
    assert failure.status.message == "rich"
    assert [detail.TypeName() for detail in failure.status.details] == ["google.rpc.RetryInfo"]
    assert failure.headers == ((b"retry-after", b"2"),)
    assert failure.http_status == 429


def test_rich_statuses_that_do_not_parse_are_passed_over() -> None:
    error = rpc_error(grpc.StatusCode.ABORTED, "plain", ("grpc-status-details-bin", b"\xff"))
    assert failure_of_call(error).status == Status(10, "plain")


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.UNKNOWN, "Unexpected <class 'ValueError'>: secret"),
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: ipv4:10.0.0.7:50051"),
        (grpc.StatusCode.UNAVAILABLE, "the connection was closed"),
        (grpc.StatusCode.UNAVAILABLE, "the connection broke: Connection timed out"),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM; unix:/run/secret.sock"),
    ],
)
def test_internals_are_hidden_unless_the_profile_shows_them(code: grpc.StatusCode, details: str) -> None:
    assert failure_of_call(rpc_error(code, details)).status.message not in ("", details)
    shown = failure_of_call(rpc_error(code, details), hide_unknown=False)
    assert shown.status.message == details


def test_a_backends_own_unavailable_keeps_its_message() -> None:
    failure = failure_of_call(rpc_error(grpc.StatusCode.UNAVAILABLE, "the database is down"), retry_after=1)
    assert failure.status.message == "the database is down"
    assert failure.headers == ((b"retry-after", b"1"),)


def test_a_failure_never_has_an_empty_message() -> None:
    assert failure_of_call(rpc_error(grpc.StatusCode.FAILED_PRECONDITION, "")).status.message == "failed precondition"


def test_all_violations_stand_in_one_bad_request_and_the_message_names_the_first() -> None:
    failure = failure_of_binding(BindingError([Violation(f"f{n}", "is wrong") for n in range(7)]))
    assert failure.http_status == 400
    assert failure.status.message.startswith("f0: is wrong; f1: is wrong")
    assert failure.status.message.endswith("and 2 more")
    request = error_details_pb2.BadRequest()
    assert failure.status.details[0].Unpack(request)
    assert [v.field for v in request.field_violations] == [f"f{n}" for n in range(7)]


def test_retry_seconds_are_none_without_retry_info() -> None:
    assert retry_seconds(Status(14, "m", (packed(error_details_pb2.ErrorInfo(reason="R")),))) is None


def test_a_failure_may_have_an_http_status_of_its_own() -> None:
    assert RpcFailure(Status(12, "m")).http_status == 501
    assert RpcFailure(Status(12, "m"), http_status=405).http_status == 405
