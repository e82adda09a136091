"""Metrics for Prometheus, on an address of their own; read from what counts them when somebody asks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.identity.authenticator import Authenticator
from shared.rates.limiter import RateLimiter
from shared.settings import split_listen_address

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


def identity_metrics(authenticator: Authenticator) -> Source:
    """Returns the source of what the identity cache does; its hit ratio is hits to the sum of all three results."""

    def read() -> Iterable[Metric]:
        lookups = CounterMetricFamily(
            "gaia_identity_lookups", "Keys looked up in the identity cache.", labels=("result",)
        )
        lookups.add_metric(("hit",), authenticator.hits)
        lookups.add_metric(("miss",), authenticator.misses)
        lookups.add_metric(("refused",), authenticator.refused)
        yield lookups
        yield GaugeMetricFamily("gaia_identity_cached", "Identities in the cache.", len(authenticator))

    return read


def limiter_metrics(limiter: RateLimiter) -> Source:
    """Returns the source of what the rate limiter does."""

    def read() -> Iterable[Metric]:
        yield CounterMetricFamily(
            "gaia_rate_limit_fallbacks", "Requests counted here because the shared store failed.", limiter.fallbacks
        )
        yield GaugeMetricFamily(
            "gaia_rate_limit_degraded", "Whether the shared store is left alone because it failed.", limiter.degraded
        )

    return read


class _Sources(Collector):
    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = list(sources)

    def collect(self) -> Iterable[Metric]:
        """Implements prometheus_client.registry.Collector."""
        for source in self._sources:
            yield from source()
