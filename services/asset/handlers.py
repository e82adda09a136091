"""The RPCs of the asset service, in the order of the contract: decode, call one domain function, encode."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from gaia.asset.v1 import asset_pb2, asset_service_pb2, asset_service_pb2_grpc
from google.api import httpbody_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from services.asset.blobs import Location
from services.asset.generation import MEGABYTE, AssetGeneration, Generated
from services.asset.library import AssetLibrary, AssetQuery
from services.asset.media import format_of
from services.asset.models import Asset
from services.asset.requests import (
    DEFAULT_MAX_COST_USD,
    DEFAULT_QUALITY,
    DEFAULT_WAIT_MS,
    GenerationRequest,
)
from shared.identity.principal import current_principal

LICENSE_OF_GENERATED = "provider-terms"
"""What may be done with a generated asset is what its provider's terms say; Gaia adds nothing."""

Context = Any  # grpc.aio.ServicerContext


class AssetHandlers(asset_service_pb2_grpc.AssetServiceServicer):
    """gaia.asset.v1.AssetService. `location` says where bytes are kept."""

    def __init__(self, generation: AssetGeneration, library: AssetLibrary, location: Location) -> None:
        self._generation = generation
        self._library = library
        self._location = location

    async def GenerateAsset(
        self, request: asset_service_pb2.GenerateAssetRequest, context: Context
    ) -> asset_service_pb2.GenerateAssetResponse:
        """Generates an asset and stores it."""
        wanted = _decode_generation(request)
        made = await self._generation.generate(current_principal(), wanted, context.time_remaining())
        return _encode_generated(made, self._location)

    async def TestAssets(
        self, request: asset_service_pb2.TestAssetsRequest, context: Context
    ) -> asset_service_pb2.TestAssetsResponse:
        """Says that the service answers."""
        return asset_service_pb2.TestAssetsResponse(status="ok", service="asset-service")

    async def ListAssets(
        self, request: asset_service_pb2.ListAssetsRequest, context: Context
    ) -> asset_service_pb2.ListAssetsResponse:
        """Lists assets."""
        query = AssetQuery(request.category, request.search, request.page_size, request.page_token)
        page = await self._library.find(current_principal(), query)
        return asset_service_pb2.ListAssetsResponse(
            assets=[_encode_asset(asset) for asset in page.assets],
            total=page.total,
            next_page_token=page.next_page_token,
        )

    async def GetAsset(
        self, request: asset_service_pb2.GetAssetRequest, context: Context
    ) -> asset_service_pb2.GetAssetResponse:
        """Returns an asset's data."""
        asset = await self._library.get(current_principal(), request.id)
        return asset_service_pb2.GetAssetResponse(asset=_encode_asset(asset))

    async def DownloadAsset(
        self, request: asset_service_pb2.DownloadAssetRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """Streams an asset's bytes; the first part carries the content type, and is sent even without bytes."""
        offset = await self._offset(request.id, dict(context.invocation_metadata() or ()))
        asset, parts = await self._library.open(current_principal(), request.id, offset)
        # The length lets the edge tell the client how much there is, and answer for a range of it.
        told = {"etag": _etag(asset), "x-body-length": asset.size_bytes, "x-body-offset": offset}
        await context.send_initial_metadata(tuple((name, str(value)) for name, value in told.items()))
        async with contextlib.aclosing(parts):
            yield httpbody_pb2.HttpBody(content_type=asset.content_type, data=await anext(parts, b""))
            async for part in parts:
                yield httpbody_pb2.HttpBody(data=part)

    async def _offset(self, asset_id: str, metadata: Mapping[str, str | bytes]) -> int:
        """Returns where in the asset's bytes the edge asks to begin; 0 for what is not to be had."""
        asked = metadata.get("x-body-offset")
        if not isinstance(asked, str) or not (asked.isascii() and asked.isdigit() and len(asked) <= 18):
            return 0
        asset = await self._library.get(current_principal(), asset_id)
        is_current = metadata.get("x-body-offset-if", _etag(asset)) == _etag(asset)
        return int(asked) if is_current and int(asked) < asset.size_bytes else 0

    async def DeleteAsset(
        self, request: asset_service_pb2.DeleteAssetRequest, context: Context
    ) -> asset_service_pb2.DeleteAssetResponse:
        """Deletes an asset, bytes included."""
        await self._library.delete(current_principal(), request.id)
        return asset_service_pb2.DeleteAssetResponse()


def _etag(asset: Asset) -> str:
    return f'"{asset.sha256}"'


def _decode_generation(request: asset_service_pb2.GenerateAssetRequest) -> GenerationRequest:
    needs, wishes = request.requirements, request.preferences
    return GenerationRequest(
        category=request.category,
        description=request.description,
        style=request.style,
        model=request.model,
        platform=needs.platform,
        quality=needs.quality or DEFAULT_QUALITY,
        file_format=needs.format,
        polygon_count_max=needs.polygon_count_max,
        file_size_max_mb=needs.file_size_max_mb,
        allow_generation=wishes.allow_generation if wishes.HasField("allow_generation") else True,
        max_cost=wishes.max_cost if wishes.HasField("max_cost") else DEFAULT_MAX_COST_USD,
        max_wait_time_ms=wishes.max_wait_time_ms if wishes.HasField("max_wait_time_ms") else DEFAULT_WAIT_MS,
    )


def _encode_generated(made: Generated, location: Location) -> asset_service_pb2.GenerateAssetResponse:
    asset = made.asset
    cost = _encode_cost(asset)
    url = _download_url(asset)
    return asset_service_pb2.GenerateAssetResponse(
        asset_id=str(asset.id),
        source=asset.source,
        cost=cost,
        response_time_ms=made.response_time_ms,
        asset_data=asset_service_pb2.AssetData(
            download_url=url,
            preview_image_url=url,
            file_format=format_of(asset.content_type),
            file_size_mb=asset.size_bytes / MEGABYTE,
            license_type=LICENSE_OF_GENERATED,
        ),
        storage_info=asset_service_pb2.StorageInfo(
            storage_type=location.storage_type,
            bucket_name=location.bucket_name,
            file_path=location.path_in_bucket(asset.storage_path),
        ),
        metadata=ParseDict(dict(made.metadata), Struct()),
        cost_breakdown=asset_service_pb2.CostBreakdown(generation=cost, total=cost, currency="USD"),
    )


def _encode_asset(asset: Asset) -> asset_pb2.Asset:
    created_at = Timestamp()
    created_at.FromDatetime(asset.created_at)
    return asset_pb2.Asset(
        id=str(asset.id),
        category=asset.category,
        description=asset.description,
        style=asset.style,
        source=asset.source,
        provider=asset.provider,
        model=asset.model,
        content_type=asset.content_type,
        size_bytes=asset.size_bytes,
        sha256=asset.sha256,
        cost_usd=_encode_cost(asset),
        download_url=_download_url(asset),
        created_at=created_at,
    )


def _encode_cost(asset: Asset) -> float | None:
    return None if asset.cost_usd is None else float(asset.cost_usd)


def _download_url(asset: Asset) -> str:
    return f"/api/v1/assets/{asset.id}/download"
