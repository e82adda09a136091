"""Metrics for Prometheus, on an address of their own; read from what counts them when somebody asks.

No label holds what a caller can make up: methods are those that are served, codes those that gRPC has.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.identity.authenticator import Authenticator
from shared.identity.token import TokenVerifier
from shared.rpc.meter import BOUNDS, CallMeter
from shared.settings import split_listen_address

if TYPE_CHECKING:  # a process that has none need not load its libraries
    from shared.rates.limiter import RateLimiter

Source = Callable[[], Iterable[Metric]]


@contextlib.asynccontextmanager
async def serving_metrics(listen: str | None, sources: Iterable[Source]) -> AsyncIterator[int]:
    """Serves the metrics of the sources while the block runs, and yields the port; with no address it does nothing.

    Raises OSError when the address cannot be had. Counting costs a request nothing but its own addition: sources are
    read in the thread that answers.
    """
    if listen is None:
        yield 0
        return
    host, port = split_listen_address(listen)
    registry = CollectorRegistry()
    registry.register(_Sources(list(sources)))
    try:
        server, thread = start_http_server(port, host.strip("[]"), registry)
    except OSError as error:
        raise OSError(f"GAIA_METRICS_LISTEN: cannot listen on {listen}: {error.strerror}") from error
    try:
        yield int(server.server_port)
    finally:
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()


def call_metrics(meter: CallMeter) -> Source:
    """Returns the source of what calls a server answered; their number is the histogram's count."""
    bounds = [*map(str, BOUNDS), "+Inf"]

    def read() -> Iterable[Metric]:
        calls = HistogramMetricFamily(
            "gaia_rpc_seconds", "Duration of calls, by the code that they ended with.", labels=("method", "code")
        )
        # Copied at once: calls go on while this thread reads.
        for method, of_method in list(meter.methods.items()):
            for code, durations in list(of_method.codes.items()):
                counts = accumulate(durations.buckets)
                calls.add_metric((method, code), list(zip(bounds, counts, strict=True)), durations.seconds)
        yield calls

    return read


def identity_metrics(authenticator: Authenticator) -> Source:
    """Returns the source of what the identity cache does; its hit ratio is hits to the sum of all three results."""

    def read() -> Iterable[Metric]:
        yield _lookups(
            "gaia_identity_lookups",
            "Keys looked up in the identity cache.",
            hit=authenticator.hits,
            miss=authenticator.misses,
            refused=authenticator.refused,
        )
        yield GaugeMetricFamily("gaia_identity_cached", "Identities in the cache.", len(authenticator))

    return read


def token_metrics(verifier: TokenVerifier) -> Source:
    """Returns the source of what the cache of verified identity tokens does."""

    def read() -> Iterable[Metric]:
        yield _lookups(
            "gaia_token_lookups",
            "Identity tokens looked up in the cache of verified ones.",
            hit=verifier.hits,
            miss=verifier.misses - verifier.refused,
            refused=verifier.refused,
        )
        yield GaugeMetricFamily("gaia_tokens_cached", "Verified identity tokens in the cache.", len(verifier))

    return read


def limiter_metrics(limiter: "RateLimiter") -> Source:
    """Returns the source of what the rate limiter does."""

    def read() -> Iterable[Metric]:
        yield CounterMetricFamily(
            "gaia_rate_limit_fallbacks", "Requests counted here because the shared store failed.", limiter.fallbacks
        )
        yield GaugeMetricFamily(
            "gaia_rate_limit_degraded", "Whether the shared store failed when it was last asked.", limiter.degraded
        )
        yield GaugeMetricFamily(
            "gaia_rate_limit_degraded_seconds", "For how long the shared store has failed.", limiter.degraded_seconds
        )

    return read


def _lookups(name: str, what: str, **results: int) -> Metric:
    lookups = CounterMetricFamily(name, what, labels=("result",))
    for result, count in results.items():
        lookups.add_metric((result,), count)
    return lookups


class _Sources(Collector):
    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = list(sources)

    def collect(self) -> Iterable[Metric]:
        """Implements prometheus_client.registry.Collector."""
        for source in self._sources:
            yield from source()
