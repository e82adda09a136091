"""gaia.chat.v1.ModelService, in the order of the contract."""

import re
from decimal import Decimal
from functools import partial
from typing import Any

import grpc
from gaia.chat.v1 import model_pb2, model_service_pb2_grpc
from gaia.chat.v1 import model_service_pb2 as pb
from google.api.httpbody_pb2 import HttpBody

from services.chat.catalogue import CAPABILITIES, Catalogue, ModelSpec
from services.chat.dialects.model_lists import AnthropicModels, OpenAIModels
from services.chat.health import HealthBoard
from services.chat.metering import may_use
from services.chat.recommending import Advisor
from services.chat.selection import May, Wish
from shared.errors import InvalidArgument
from shared.identity.principal import Principal, current_principal

Context = grpc.aio.ServicerContext[Any, Any]

ANTHROPIC_VERSION = "anthropic-version"
"""What an Anthropic SDK sends, and an OpenAI SDK does not."""
JSON = "application/json"
MILLION = Decimal(1_000_000)
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


class ModelHandlers(model_service_pb2_grpc.ModelServiceServicer):
    """The models of all configured providers. What is encoded once is encoded anew with another catalogue."""

    def __init__(self, catalogue: Catalogue, board: HealthBoard, advisor: Advisor) -> None:
        self._catalogue = catalogue
        self._board = board
        self._advisor = advisor
        self._encode()

    def _encode(self) -> None:
        catalogue = self._catalogue
        self._catalogue_version = catalogue.version
        self._encoded = [(model, _encode(model)) for model in catalogue.models]
        self._openai = OpenAIModels(catalogue)
        self._anthropic = AnthropicModels(catalogue)

    def _refresh(self) -> None:
        if self._catalogue_version != self._catalogue.version:
            self._encode()

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """Lists the models."""
        self._refresh()
        provider = self._catalogue.provider(request.provider).id if request.provider else None
        capability = request.capability or None
        if capability and capability not in CAPABILITIES:
            raise InvalidArgument.field(
                "capability", f"there is no capability {capability[:64]}; there are {', '.join(CAPABILITIES)}"
            )
        may = _limits(current_principal())
        models = [
            encoded
            for model, encoded in self._encoded
            if (provider is None or model.provider == provider)
            and (capability is None or capability in model.capabilities)
            and (may is None or may(model))
        ]
        filters = pb.ModelFilters(provider=provider, capability=capability)
        return pb.ListModelsResponse(models=models, total=len(models), filters=filters)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Returns a model."""
        model = self._catalogue.model(_model_name(request.id))
        ends = model.deprecation_date
        return pb.GetModelResponse(
            id=model.id,
            name=model.name,
            provider=model.provider,
            capabilities=model.capabilities,
            max_tokens=model.max_tokens,
            context_window=model.context_window,
            cost_per_input_token=_per_token(model.input_price),
            cost_per_output_token=_per_token(model.output_price),
            avg_response_time_ms=self._board.reply_ms(model.provider, model.id),
            is_deprecated=ends is not None,
            deprecation_date=ends.isoformat() if ends else None,
            supports_system_prompt=True,
            supports_temperature=model.supports_temperature,
            supports_streaming="streaming" in model.capabilities,
            description=model.description,
        )

    async def RecommendModel(self, request: pb.RecommendModelRequest, context: Context) -> pb.RecommendModelResponse:
        """Recommends a model for a message."""
        wish = Wish(
            provider=request.provider,
            priority=request.priority,
            context_type=request.context_type,
            max_response_time_ms=request.max_response_time_ms,
            required_capabilities=request.required_capabilities,
        )
        found = self._advisor.recommend(request.message, wish, partial(may_use, current_principal()))
        return pb.RecommendModelResponse(
            recommended_model=found.model.id,
            provider=found.model.provider,
            confidence=found.confidence,
            reasoning=found.reasoning,
            alternatives=[
                pb.ModelAlternative(model=model.id, provider=model.provider, reasoning=why)
                for model, why in found.alternatives
            ],
            estimated_cost=None if found.cost is None else float(found.cost),
            estimated_response_time_ms=found.reply_ms,
            model_info=_encode(found.model),
        )

    async def CompareModels(self, request: pb.CompareModelsRequest, context: Context) -> pb.CompareModelsResponse:
        """Shows models side by side."""
        names = [name.strip() for value in request.model_ids for name in value.split(",") if name.strip()]
        found = self._advisor.compare(names)
        return pb.CompareModelsResponse(
            models=map(self._compared, found.models),
            total=len(found.models),
            shared_capabilities=found.shared_capabilities,
            cheapest=found.cheapest,
            fastest=found.fastest,
            largest_context_window=found.largest,
        )

    async def ListStreamModels(
        self, request: pb.ListStreamModelsRequest, context: Context
    ) -> pb.ListStreamModelsResponse:
        """Lists the models that stream."""
        default = self._catalogue.default_provider
        return pb.ListStreamModelsResponse(
            models=[
                pb.StreamModel(
                    model_id=model.id,
                    name=model.name,
                    provider=model.provider,
                    avg_ttft_ms=self._board.first_word_ms(model.provider, model.id),
                    avg_response_time_ms=self._board.reply_ms(model.provider, model.id),
                    max_tokens=model.max_tokens,
                    context_window=model.context_window,
                )
                for model in self._catalogue.models
                if "streaming" in model.capabilities
            ],
            default_selection=None if default is None else self._catalogue.default_model(default).id,
        )

    async def ListDialectModels(self, request: pb.ListDialectModelsRequest, context: Context) -> HttpBody:
        """Lists the models as OpenAI or Anthropic does."""
        self._refresh()
        may = _limits(current_principal())
        if _speaks_anthropic(context):
            limit = request.limit if request.HasField("limit") else None
            data = self._anthropic.page(limit, request.after_id, request.before_id, may)
        else:
            data = self._openai.all(may)
        return HttpBody(content_type=JSON, data=data)

    async def GetDialectModel(self, request: pb.GetDialectModelRequest, context: Context) -> HttpBody:
        """Returns a model as OpenAI or Anthropic does."""
        self._refresh()
        models = self._anthropic if _speaks_anthropic(context) else self._openai
        return HttpBody(content_type=JSON, data=models.one(_model_name(request.id)))

    def _compared(self, model: ModelSpec) -> pb.ComparedModel:
        return pb.ComparedModel(
            id=model.id,
            name=model.name,
            provider=model.provider,
            capabilities=model.capabilities,
            max_tokens=model.max_tokens,
            context_window=model.context_window,
            cost_per_input_token=_per_token(model.input_price),
            cost_per_output_token=_per_token(model.output_price),
            avg_response_time_ms=self._board.reply_ms(model.provider, model.id),
            avg_ttft_ms=self._board.first_word_ms(model.provider, model.id),
            is_deprecated=model.deprecation_date is not None,
        )


def _limits(caller: Principal) -> May | None:
    """Returns what tells which models a caller's key may use; None where that is all."""
    return partial(may_use, caller) if caller.allowed_models else None


def _speaks_anthropic(context: Context) -> bool:
    return any(key == ANTHROPIC_VERSION for key, _ in context.invocation_metadata() or ())


def _model_name(path: str) -> str:
    """Returns the name of a model from a path, in which the slash of `provider/model` may stand as the SDKs send it.

    In a variable of several segments an encoded slash arrives as it is, since google.api.http keeps it apart from one
    that separates segments.
    """
    return _ENCODED_SLASH.sub("/", path)


def _encode(model: ModelSpec) -> model_pb2.Model:
    return model_pb2.Model(
        id=model.id,
        name=model.name,
        provider=model.provider,
        capabilities=model.capabilities,
        max_tokens=model.max_tokens,
        context_window=model.context_window,
    )


def _per_token(price: Decimal | None) -> float | None:
    return None if price is None else float(price / MILLION)
