"""One trace from the client through the edge to the services, as a collector of OpenTelemetry sees it."""

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from shared.identity import api_key
from tests.support.collector import Collector, Span, running_collector
from tests.support.mesh import SERVICES, Mesh, running_mesh
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

PROCESSES = (*SERVICES, "edge")
CHAT = "POST /api/v0.2/chat"
STREAM = "POST /api/v0.2/chat/stream"


@pytest.fixture(scope="module")
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
async def traced(
    collector: Collector, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    database = postgres.create_database()
    environment = dict.fromkeys(PROCESSES, variables)
    async with running_mesh(tmp_path_factory.mktemp("traced"), postgres, database, environment) as running:

        async def found() -> bool:
            return bool((await running.http.get("/health")).json()["status"] == "healthy")

        await eventually(found)
        yield running
    postgres.drop_database(database)


def new_context() -> tuple[str, str, dict[str, str]]:
    """A trace, a client's span in it, and the header that says so."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, {"traceparent": f"00-{trace_id}-{span_id}-01", "tracestate": "vendor=value"}


async def spans(collector: Collector, trace_id: str, *names: str) -> dict[str, Span]:
    """The spans of a trace, once those that are named have come."""

    async def arrived() -> dict[str, Span]:
        found = collector.of(trace_id)
        return found if set(names) <= set(found) else {}

    return await eventually(arrived)


async def test_one_trace_goes_from_the_client_through_the_edge_to_auth_and_chat(traced: Mesh, collector: Collector):
    caller = await traced.new_caller()
    trace_id, span_id, headers = new_context()
    reply = await caller.post("/api/v0.2/chat", {"message": "hi", "provider": "local"}, headers=headers)
    assert reply.status_code == 200, reply.text
    service, auth = "gaia.chat.v1.ChatService/Chat", "gaia.auth.v1.AuthService/Authenticate"
    found = await spans(collector, trace_id, CHAT, service, auth)
    assert {span.process for span in found.values()} == {"gaia-edge", "gaia-auth", "gaia-chat"}
    assert found[CHAT].parent_id == span_id
    assert found[service].parent_id == found[auth].parent_id == found[CHAT].span_id
    assert not any(span.failed for span in found.values())
    assert found[CHAT].attributes["http.route"] == "/api/v0.2/chat"
    assert found[CHAT].attributes["http.response.status_code"] == "200"
    assert found[CHAT].attributes["gaia.request_id"] == reply.headers["x-request-id"]
    assert found[service].attributes["rpc.grpc.status_code"] == "0"


async def test_a_stream_is_one_span_that_ends_with_it(traced: Mesh, collector: Collector):
    caller = await traced.new_caller()
    trace_id, _, headers = new_context()
    await caller.post("/api/v0.2/chat/stream", {"message": "hi", "provider": "local"}, headers=headers)
    found = await spans(collector, trace_id, STREAM, "gaia.chat.v1.ChatService/StreamChat")
    assert not any(span.failed for span in found.values())


async def test_a_client_without_a_trace_begins_one_and_refusals_are_no_faults_of_the_edge(
    traced: Mesh, collector: Collector
):
    missing = f"/api/v1/users/{secrets.token_hex(8)}"
    reply = await traced.admin.get(missing)
    assert reply.status_code == 404
    name = "GET /api/v1/users/{id}"

    async def arrived() -> list[Span]:
        return [span for span in collector.spans if span.name == name]

    [span] = await eventually(arrived)
    assert (span.parent_id, span.failed) == ("", False)
    call = (await spans(collector, span.trace_id, "gaia.auth.v1.UserService/GetUser"))[
        "gaia.auth.v1.UserService/GetUser"
    ]
    assert (call.failed, call.attributes["rpc.grpc.status_code"]) == (True, "5")
    # What a caller makes up names no span.
    await traced.admin.get(f"/made-up/{secrets.token_hex(4)}")
    assert not [span for span in collector.spans if "made-up" in span.name]


async def test_logs_name_the_trace(traced: Mesh):
    trace_id, _, headers = new_context()
    await traced.admin.get(f"/api/v1/users/{secrets.token_hex(8)}", headers=headers)

    async def logged() -> bool:
        return any(line.get("trace_id") == trace_id for line in traced.log_lines("auth"))

    await eventually(logged)


async def test_no_span_holds_a_key_a_prompt_or_a_url(traced: Mesh, collector: Collector):
    caller = await traced.new_caller()
    trace_id, _, headers = new_context()
    prompt, word = f"prompt-{secrets.token_hex(8)}", secrets.token_hex(8)
    await caller.post("/api/v0.2/chat", {"message": prompt, "provider": "local"}, headers=headers)
    leaked = api_key.generate("test")
    await caller.get(f"/api/v1/auth/me?api_key={leaked}", headers=headers)
    await caller.get(f"/api/v1/api-keys/{word}", headers=headers)
    await spans(collector, trace_id, CHAT, "GET /api/v1/api-keys/{id}", "GET /api/v1/auth/me")
    sent = b"".join(collector.payloads)
    for secret in (caller.key, caller.user_id, prompt, leaked, word):
        assert secret.encode() not in sent


def test_who_makes_no_spans_does_not_load_what_makes_them():
    modules = "edge.app, services.auth.server, services.chat.server, services.asset.server, shared.process"
    program = f"import sys, {modules}; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"
