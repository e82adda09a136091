"""What the asset service needs of a store of bytes."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 128 * 1024
"""Size of the parts that bytes are read in: few gRPC messages a megabyte, and little held for a slow reader."""


class BlobMissing(Exception):
    """There are no bytes at the path; the message is the path."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a store keeps its bytes: `local`, `s3`, `gcs` or `azure`; bucket or folder; what paths in it begin with."""

    storage_type: str
    bucket_name: str
    prefix: str

    def path_in_bucket(self, path: str) -> str:
        """Returns the path of an object in its bucket."""
        return f"{self.prefix}/{path}" if self.prefix else path


class BlobWriter(Protocol):
    """Where bytes are put, and taken away. Every method raises Unavailable when the store does not answer."""

    async def write(self, path: str, data: bytes) -> None:
        """Stores bytes; they are there completely or not at all."""

    async def delete(self, path: str) -> None:
        """Deletes bytes; there may be none."""


class BlobStore(BlobWriter, Protocol):
    """Bytes by path. Every method raises Unavailable when the store does not answer."""

    @property
    def location(self) -> Location:
        """Where the bytes are."""

    async def open(self, path: str, offset: int = 0) -> tuple[int, AsyncGenerator[bytes]]:
        """Returns the size and the bytes from the offset on, in parts of at most `CHUNK_BYTES`, to be closed.

        The offset lies before the end, unless it is 0. Raises BlobMissing.
        """
