"""Behaviour of edge/transcoding/headers.py."""

from typing import Any

import pytest

from edge.transcoding.errors import RpcFailure
from edge.transcoding.headers import (
    RequestHeaders,
    ReservedNames,
    ResponseHeaders,
    accepts_trailers,
    sane_request_id,
)
from edge.transcoding.options import HeaderRules

RULES = HeaderRules(
    forwarded=("traceparent", "idempotency-key"), reserved=("x-gaia-", "authorization"), forward_address=False
)


def read(*headers: tuple[str, str | bytes], rules: HeaderRules = RULES, prefix: str = "", **options: Any) -> Any:
    reader = RequestHeaders(rules, ReservedNames(rules.reserved), permanent_prefix=prefix)
    raw = [(name.lower().encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    return reader.read(raw, options.get("client"), options.get("limit", 32_768))


def metadata(*headers: tuple[str, str | bytes], **options: Any) -> list[tuple[str, str | bytes]]:
    pairs: list[tuple[str, str | bytes]] = read(*headers, **options).metadata
    return pairs


def test_prefixed_headers_become_metadata_in_lower_case() -> None:
    assert metadata(("Grpc-Metadata-X-Team", "red"), ("Grpc-Metadata-a.b_c", "1")) == [
        ("x-team", "red"),
        ("a.b_c", "1"),
    ]


def test_repeated_headers_become_repeated_metadata() -> None:
    assert metadata(("Grpc-Metadata-A", "1"), ("Grpc-Metadata-A", "2")) == [("a", "1"), ("a", "2")]


def test_listed_headers_pass_by_their_own_name_and_others_do_not() -> None:
    assert metadata(("traceparent", "00-1"), ("Idempotency-Key", "k"), ("Cookie", "c"), ("X-Team", "red")) == [
        ("traceparent", "00-1"),
        ("idempotency-key", "k"),
    ]


@pytest.mark.parametrize("value", ["AP8=", "AP8", "_w==", "/w"])
def test_bin_headers_are_decoded_from_any_base64(value: str) -> None:
    expected = b"\x00\xff" if value.startswith("A") else b"\xff"
    assert metadata(("Grpc-Metadata-Key-Bin", value)) == [("key-bin", expected)]


def test_a_bin_header_may_hold_several_values() -> None:
    assert metadata(("Grpc-Metadata-Key-Bin", "AA==, AQ")) == [("key-bin", b"\x00"), ("key-bin", b"\x01")]


def test_a_bin_header_that_is_no_base64_is_refused_by_name() -> None:
    with pytest.raises(RpcFailure, match=r"Grpc-Metadata-key-bin: .* base64") as caught:
        metadata(("Grpc-Metadata-Key-Bin", "a b"))
    assert caught.value.http_status == 400


@pytest.mark.parametrize(
    "name",
    [
        "X-Gaia-User",
        "x_gaia_user",
        "x.gaia.user",
        "X-Gaia-User-Bin",
        "Authorization",
        "authorization-bin",
        "Grpc-Timeout",
        "grpc-status",
        "grpc_timeout",
        "Grpc-Metadata-X-Gaia-User",
        "Grpcgateway-X-Gaia-User",
        "grpcgateway-authorization",
        "grpcgateway_Authorization",
        "te",
        "Content-Type",
        "Content-Length",
        "connection",
        "Transfer-Encoding",
        "host",
        "user-agent",
        "X-Request-Id",
        ":path",
        "a b",
        "ü",
        "",
    ],
)
@pytest.mark.parametrize("prefix", ["Grpc-Metadata-", ""])
def test_reserved_and_malformed_names_never_become_metadata(prefix: str, name: str) -> None:
    assert metadata((prefix + name, "AAAA")) == []


def test_the_prefixed_spelling_does_not_set_what_the_transcoder_sets() -> None:
    names = ("X-Forwarded-For", "X-Forwarded-Host", "X-Request-Id")
    assert metadata(*((f"Grpc-Metadata-{name}", "a") for name in names)) == []


@pytest.mark.parametrize("value", [b"caf\xe9", "é".encode(), b"a\tb", b"a\x00", b"\x7f"])
@pytest.mark.parametrize("name", ["Grpc-Metadata-A", "traceparent", "x-forwarded-proto"])
def test_values_that_grpc_cannot_carry_are_dropped(name: str, value: bytes) -> None:
    assert metadata((name, value)) == []


def test_a_reserved_name_does_not_pass_even_if_listed() -> None:
    rules = HeaderRules(forwarded=("authorization",), reserved=("authorization",), forward_address=False)
    assert metadata(("Authorization", "Bearer x"), rules=rules) == []
    assert metadata(("Authorization", "Bearer x"), rules=rules, prefix="grpcgateway-") == []


def test_the_gateway_profile_prefixes_permanent_headers() -> None:
    rules = HeaderRules(forwarded=("authorization",), forward_address=False)
    assert metadata(
        ("Authorization", "Bearer x"), ("User-Agent", "curl"), ("X-Team", "a"), rules=rules, prefix="grpcgateway-"
    ) == [
        ("authorization", "Bearer x"),
        ("grpcgateway-authorization", "Bearer x"),
        ("grpcgateway-user-agent", "curl"),
    ]


def test_the_peer_is_added_to_what_proxies_told() -> None:
    rules = HeaderRules(forwarded=(), forward_address=True)
    assert metadata(
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-For", "5.6.7.8"),
        ("X-Forwarded-Proto", "https"),
        ("Host", "api.example"),
        rules=rules,
        client=("9.9.9.9", 1),
    ) == [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "1.2.3.4, 5.6.7.8, 9.9.9.9"),
        ("x-forwarded-host", "api.example"),
    ]


def test_a_forwarded_host_is_kept() -> None:
    rules = HeaderRules(forwarded=())
    assert ("x-forwarded-host", "first") in metadata(("X-Forwarded-Host", "first"), ("Host", "second"), rules=rules)


def test_what_the_transcoder_reads_is_kept_apart_from_metadata() -> None:
    head = read(("Content-Type", "application/json"), ("Accept", "a/b"), ("Grpc-Timeout", "1S"), ("TE", "trailers"))
    assert (head.content_type, head.accept, head.grpc_timeout, head.te) == (
        b"application/json",
        b"a/b",
        b"1S",
        b"trailers",
    )
    assert head.metadata == []
    assert head.request_timeout is None


def test_headers_beyond_the_limit_are_refused_with_431() -> None:
    with pytest.raises(RpcFailure, match="headers hold 1001 bytes, the limit is 1000") as caught:
        read(("a", "x" * 1000), limit=1000)
    assert caught.value.http_status == 431


def returned(*pairs: tuple[str, str | bytes]) -> list[tuple[bytes, bytes]]:
    rules = HeaderRules(reserved=("x-gaia-",))
    return ResponseHeaders(rules, ReservedNames(rules.reserved)).of_metadata(pairs)


def test_metadata_return_as_prefixed_headers_and_listed_ones_plain() -> None:
    assert returned(("x-team", "red"), ("etag", '"1"'), ("x-ratelimit-limit", "9"), ("data-bin", b"\x00\xff")) == [
        (b"grpc-metadata-x-team", b"red"),
        (b"etag", b'"1"'),
        (b"x-ratelimit-limit", b"9"),
        (b"grpc-metadata-data-bin", b"AP8="),
    ]


@pytest.mark.parametrize(
    "pair",
    [
        ("x-gaia-user", "a"),
        ("content-type", "application/grpc"),
        ("set-cookie", "a"),
        ("x-request-id", "a"),
        ("x-http-code", "201"),
        ("x-team", "a\r\nset-cookie: b"),
    ],
)
def test_what_frames_or_forges_a_response_does_not_return(pair: tuple[str, str]) -> None:
    assert returned(pair) == []


def test_trailers_return_when_asked_and_listed_ones_always() -> None:
    rules = HeaderRules()
    headers = ResponseHeaders(rules, ReservedNames(()))
    pairs = [("checksum", "a"), ("retry-after", "3")]
    assert headers.of_trailers(pairs, asked=True) == [(b"grpc-trailer-checksum", b"a"), (b"retry-after", b"3")]
    assert headers.of_trailers(pairs, asked=False) == [(b"retry-after", b"3")]


@pytest.mark.parametrize(("value", "status"), [("201", 201), ("202", 202), ("500", None), ("99", None), ("x", None)])
def test_a_backend_chooses_among_successes_only(value: str, status: int | None) -> None:
    headers = ResponseHeaders(HeaderRules(), ReservedNames(()))
    assert headers.status_code([("a", "b"), ("x-http-code", value)]) == status


@pytest.mark.parametrize(
    ("value", "sane"),
    [
        (b"abc-1", "abc-1"),
        (b"", None),
        (None, None),
        (b"a b", None),
        (b"x" * 129, None),
        (b"a\n", None),
        (b"<a>", None),
    ],
)
def test_a_request_id_is_taken_only_if_it_is_safe_to_log(value: bytes | None, sane: str | None) -> None:
    assert sane_request_id(value) == sane


def test_trailers_are_asked_for_by_te() -> None:
    assert accepts_trailers(b"gzip, Trailers")
    assert not accepts_trailers(b"gzip")
    assert not accepts_trailers(None)
