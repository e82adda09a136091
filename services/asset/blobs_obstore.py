"""The store of bytes by obstore: a local folder, S3, Google Cloud Storage or Azure, by URL."""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from services.asset.blobs import CHUNK_BYTES, BlobMissing, Location
from shared.errors import Unavailable

if TYPE_CHECKING:  # these names exist for type checkers only
    from obstore import GetOptions, GetResult
    from obstore.store import ClientConfig, RetryConfig

logger = logging.getLogger(__name__)

AnyStore = LocalStore | S3Store | GCSStore | AzureStore

SCHEMES = ("file", "s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
"""What a store's URL may begin with."""
WRITE_SECONDS = 30.0
"""Longest time for writing or deleting one object, retries included."""
OPEN_SECONDS = 15.0
# A download may take as long as its contract lets it (600 s); obstore's own default would cut it after 30 s.
_CLIENT: "ClientConfig" = {"connect_timeout": dt.timedelta(seconds=5), "timeout": dt.timedelta(seconds=600)}
# obstore's own defaults would keep a caller waiting for three minutes.
_RETRY: "RetryConfig" = {"max_retries": 3, "retry_timeout": dt.timedelta(seconds=10)}


class ObstoreBlobs:
    """Implements `services.asset.blobs.BlobStore`."""

    def __init__(self, store: AnyStore, location: Location) -> None:
        self._store = store
        self._location = location

    @property
    def location(self) -> Location:
        """Where the bytes are."""
        return self._location

    async def write(self, path: str, data: bytes) -> None:
        """Stores bytes."""
        with _outages("write"):
            async with asyncio.timeout(WRITE_SECONDS):
                await obstore.put_async(self._store, path, data)

    async def open(self, path: str, offset: int = 0) -> tuple[int, AsyncGenerator[bytes]]:
        """Returns the size and the bytes from the offset on, in parts."""
        options: GetOptions = {"range": {"offset": offset}} if offset else {}
        with _outages("open"):
            async with asyncio.timeout(OPEN_SECONDS):
                try:
                    found = await obstore.get_async(self._store, path, options=options)
                except FileNotFoundError as error:
                    raise BlobMissing(path) from error
        return found.meta["size"], _parts(found)

    async def delete(self, path: str) -> None:
        """Deletes bytes; there may be none."""
        with _outages("delete"), contextlib.suppress(FileNotFoundError):
            async with asyncio.timeout(WRITE_SECONDS):
                await obstore.delete_async(self._store, path)


def connect_blobs(url: str) -> ObstoreBlobs:
    """Returns the store of a URL; a local folder is made, open to its owner only. Asks no cloud anything yet.

    Raises ValueError that says what is wrong with the URL, or OSError for a folder that cannot be had.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if parts.username or parts.password or parts.query:
        raise ValueError("must hold no credentials; give them by the provider's own variables, such as AWS_*")
    try:
        return _connect_local(Path(unquote(parts.path))) if parts.scheme == "file" else _connect_cloud(url)
    except BaseError as error:
        # The library's own words go on for many lines; the first says what is wrong.
        raise ValueError(f"cannot be used: {str(error).splitlines()[0]}") from error


def _connect_local(folder: Path) -> ObstoreBlobs:
    if not folder.is_absolute() or folder == Path("/"):
        raise ValueError("must name a folder by its absolute path, such as file:///var/lib/gaia/assets")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ObstoreBlobs(LocalStore(folder), Location("local", folder.name, ""))


def _connect_cloud(url: str) -> ObstoreBlobs:
    store = obstore.store.from_url(url, client_options=_CLIENT, retry_config=_RETRY)
    match store:
        case S3Store():
            return ObstoreBlobs(store, Location("s3", store.config["bucket"], store.prefix or ""))
        case GCSStore():
            return ObstoreBlobs(store, Location("gcs", store.config["bucket"], store.prefix or ""))
        case AzureStore():
            return ObstoreBlobs(store, Location("azure", store.config["container_name"], store.prefix or ""))
        case _:
            raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")


async def _parts(found: "GetResult") -> AsyncGenerator[bytes]:
    with _outages("read"):
        async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
            # The size above is the least that is gathered; a cloud may send more at once.
            for start in range(0, len(chunk), CHUNK_BYTES):
                yield chunk[start : start + CHUNK_BYTES]


@contextlib.contextmanager
def _outages(operation: str) -> Iterator[None]:
    """Turns what the library raises for a store that fails into Unavailable."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError, TimeoutError) as error:
        # Its message may hold a path or an address: for the operator, and of no use to the caller.
        logger.warning("asset store failed", extra={"operation": operation, "error": type(error).__name__})
        raise Unavailable("the asset store does not answer; try again", reason="ASSET_STORE_UNAVAILABLE") from error
