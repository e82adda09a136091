"""Metrics of a service with a database."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.db.pool import Database
from shared.metrics import Source, call_metrics, identity_metrics, token_metrics
from shared.rpc.mesh import MeshIdentity


def service_metrics(identity: MeshIdentity, database: Database) -> list[Source]:
    """Returns the sources of a service: its calls, what it knows of its callers, and its database."""
    return [
        call_metrics(identity.calls),
        identity_metrics(identity.authenticator),
        token_metrics(identity.verifier),
        pool_metrics(database),
    ]


def pool_metrics(database: Database) -> Source:
    """Returns the source of what the pool of connections to Postgres does."""

    def read() -> Iterable[Metric]:
        use = database.use()
        connections = GaugeMetricFamily(
            "gaia_database_connections", "Connections to Postgres, by what they do.", labels=("state",)
        )
        connections.add_metric(("busy",), use.busy)
        connections.add_metric(("idle",), use.idle)
        yield connections
        yield GaugeMetricFamily("gaia_database_connections_limit", "Most connections to Postgres.", use.limit)

    return read
