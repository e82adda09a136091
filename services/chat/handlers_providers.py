"""gaia.chat.v1.ProviderService, in the order of the contract."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from gaia.chat.v1 import model_pb2, provider_service_pb2_grpc
from gaia.chat.v1 import provider_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from services.chat.catalogue import Catalogue, ModelSpec, ProviderSpec
from services.chat.health import Health, HealthBoard, overall
from services.chat.usage import DEFAULT_DAYS, MAX_DAYS, ProviderTotals, UsageStore, bounded, whose
from shared.identity.principal import current_principal

Context = Any  # grpc.aio.ServicerContext, which the handlers do not use


class ProviderHandlers(provider_service_pb2_grpc.ProviderServiceServicer):
    """Answers from messages made once for a catalogue; only health and the time of the answer are set anew."""

    def __init__(
        self, catalogue: Catalogue, board: HealthBoard, now: Callable[[], dt.datetime], usage: UsageStore
    ) -> None:
        self._usage = usage
        self._catalogue = catalogue
        self._board = board
        self._now = now
        self._encode()

    def _encode(self) -> None:
        catalogue = self._catalogue
        self._catalogue_version = catalogue.version
        self._providers = [encode_provider(provider) for provider in catalogue.providers]
        self._models = {
            provider.id: pb.ListProviderModelsResponse(
                provider=provider.id,
                models=[_encode_model(model) for model in provider.models],
                total=len(provider.models),
            )
            for provider in catalogue.providers
        }
        self._list = pb.ListProvidersResponse()
        self._list_version = -1

    def _refresh(self) -> None:
        if self._catalogue_version != self._catalogue.version:
            self._encode()

    async def ListProviders(self, request: pb.ListProvidersRequest, context: Context) -> pb.ListProvidersResponse:
        """Lists the providers."""
        self._refresh()
        if self._list_version != self._board.version:
            self._list = self._with_health()
        response = pb.ListProvidersResponse()
        response.CopyFrom(self._list)
        response.timestamp.FromDatetime(self._now())
        return response

    async def GetProvider(self, request: pb.GetProviderRequest, context: Context) -> pb.GetProviderResponse:
        """Returns a provider."""
        self._refresh()
        spec = self._catalogue.provider(request.id)
        found = next(message for message in self._providers if message.id == spec.id)
        response = pb.GetProviderResponse(provider=found)
        _set_health(response.provider, self._board.of(spec.id))
        return response

    async def ListProviderModels(
        self, request: pb.ListProviderModelsRequest, context: Context
    ) -> pb.ListProviderModelsResponse:
        """Lists the models of a provider, with their prices."""
        self._refresh()
        return self._models[self._catalogue.provider(request.id).id]

    async def GetProviderHealth(
        self, request: pb.GetProviderHealthRequest, context: Context
    ) -> pb.GetProviderHealthResponse:
        """Tells how a provider is doing."""
        return pb.GetProviderHealthResponse(health=self._health(self._catalogue.provider(request.id)))

    async def ListProviderHealth(
        self, request: pb.ListProviderHealthRequest, context: Context
    ) -> pb.ListProviderHealthResponse:
        """Tells how all providers are doing."""
        response = pb.ListProviderHealthResponse(
            providers={spec.id: self._health(spec) for spec in self._catalogue.providers},
            overall_status=self._overall(),
        )
        response.timestamp.FromDatetime(self._now())
        return response

    def _with_health(self) -> pb.ListProvidersResponse:
        self._list_version = self._board.version
        response = pb.ListProvidersResponse(
            providers=self._providers, total_providers=len(self._providers), health_status=self._overall()
        )
        for provider in response.providers:
            _set_health(provider, self._board.of(provider.id))
        return response

    def _overall(self) -> str:
        return overall(self._board.of(spec.id).status for spec in self._catalogue.providers if spec.is_configured)

    def _health(self, spec: ProviderSpec) -> pb.ProviderHealth:
        if not spec.is_configured:
            return pb.ProviderHealth(status=spec.status)
        health = self._board.of(spec.id)
        return pb.ProviderHealth(
            status=health.status,
            response_time_ms=health.first_word_ms,
            last_check=_timestamp(health.last_call),
            error_rate=health.error_rate,
        )

    async def GetProviderStats(
        self, request: pb.GetProviderStatsRequest, context: Context
    ) -> pb.GetProviderStatsResponse:
        """Sums up the calls to a provider."""
        provider = self._catalogue.provider(request.id)
        found = await self._stats(request.days)
        return pb.GetProviderStatsResponse(stats=_stats(found.get(provider.id, ProviderTotals())))

    async def ListProviderStats(
        self, request: pb.ListProviderStatsRequest, context: Context
    ) -> pb.ListProviderStatsResponse:
        """Sums up the calls to all providers."""
        found = await self._stats(request.days)
        requests, errors = (sum(getattr(one, name) for one in found.values()) for name in ("requests", "errors"))
        response = pb.ListProviderStatsResponse(
            provider_stats={provider: _stats(one) for provider, one in found.items()},
            summary=pb.ProviderStatsSummary(
                total_requests=requests,
                total_tokens=sum(one.tokens for one in found.values()),
                total_cost=float(sum(one.cost for one in found.values())),
                total_errors=errors,
                overall_error_rate=errors / requests if requests else 0.0,
            ),
        )
        response.timestamp.FromDatetime(self._now())
        return response

    async def _stats(self, days: int) -> Mapping[str, ProviderTotals]:
        start = self._now() - dt.timedelta(days=bounded("days", days, DEFAULT_DAYS, MAX_DAYS))
        return await self._usage.by_provider(start, whose(current_principal()))


def _stats(totals: ProviderTotals) -> pb.ProviderStats:
    return pb.ProviderStats(
        requests_count=totals.requests,
        total_tokens=totals.tokens,
        total_cost=float(totals.cost),
        avg_response_time_ms=totals.average_ms,
        error_count=totals.errors,
        error_rate=totals.error_rate,
        last_request=_timestamp(totals.last_request),
    )


def encode_provider(spec: ProviderSpec) -> pb.Provider:
    """Encodes a provider before its first call."""
    return pb.Provider(
        id=spec.id,
        name=spec.name,
        status=spec.status,
        health="unknown",
        models=[model.id for model in spec.models],
        capabilities=spec.capabilities,
    )


def _set_health(provider: pb.Provider, health: Health) -> None:
    provider.health = health.status
    if health.last_call is not None:
        provider.last_health_check.FromDatetime(health.last_call)


def _encode_model(model: ModelSpec) -> pb.ProviderModel:
    encoded = pb.ProviderModel(
        id=model.id,
        name=model.name,
        capabilities=model.capabilities,
        max_tokens=model.max_tokens,
        context_window=model.context_window,
        pricing=model_pb2.ModelPricing(),
    )
    if model.input_price is not None:
        encoded.pricing.input_tokens_per_million = float(model.input_price)
    if model.output_price is not None:
        encoded.pricing.output_tokens_per_million = float(model.output_price)
    return encoded


def _timestamp(moment: dt.datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    encoded = Timestamp()
    encoded.FromDatetime(moment)
    return encoded
