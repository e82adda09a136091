"""Making spans, without a process around it."""

import threading
import time

import pytest

from shared import telemetry
from shared.tracing import MAX_HEADER, Tracing, end


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch):
    """Spans for a collector that is away."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    # What still tries to send at the end of a test must not go on beside the next ones.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    before = set(threading.enumerate())
    made = Tracing("test", flush_seconds=0.2)
    yield made
    made.close()
    telemetry.trace_context.set(())
    for thread in set(threading.enumerate()) - before:
        thread.join(5.0)
        assert not thread.is_alive(), thread.name


def test_a_collector_that_is_away_does_not_hold_up_the_end(tracing: Tracing):
    for _ in range(3000):  # more than the queue holds
        end(tracing.serve("call", (), {}), {})
    began = time.perf_counter()
    tracing.close()
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "00-0-0-01",
        "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "Z" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "1" * 16 + "-01" + "x" * MAX_HEADER,
        "\x00",
    ],
)
def test_a_context_that_is_none_begins_a_trace_of_its_own(tracing: Tracing, sent: str):
    span = tracing.serve("call", [("traceparent", sent), ("tracestate", "=" * 9000)], {})
    [(name, value)] = telemetry.trace_context.get()
    assert name == "traceparent"
    version, trace_id, span_id, _ = value.split("-")
    context = span.get_span_context()
    assert (version, int(trace_id, 16), int(span_id, 16)) == ("00", context.trace_id, context.span_id)
    assert trace_id not in ("0" * 32, "1" * 32)
    end(span, {})


def test_the_state_of_a_trace_is_passed_on(tracing: Tracing):
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    end(tracing.serve("call", [("traceparent", parent), ("tracestate", "vendor=value")], {}), {})
    onward = dict(telemetry.trace_context.get())
    assert onward["traceparent"].split("-")[1] == "a" * 32
    assert onward["tracestate"] == "vendor=value"
