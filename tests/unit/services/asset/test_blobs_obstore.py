"""Bytes in a real folder, and the URLs that name stores."""

from pathlib import Path

import pytest

from services.asset.blobs import CHUNK_BYTES, BlobMissing
from services.asset.blobs_obstore import connect_blobs
from shared.errors import Unavailable

PATH = "assets/user/one.png"


async def read(url: str, path: str) -> list[bytes]:
    _, parts = await connect_blobs(url).open(path)
    return [part async for part in parts]


async def test_what_is_written_is_read_again_in_parts(tmp_path: Path) -> None:
    blobs = connect_blobs(tmp_path.as_uri())
    data = bytes(range(256)) * 2000
    await blobs.write(PATH, data)
    size, parts = await blobs.open(PATH)
    got = [part async for part in parts]
    assert size == len(data)
    assert b"".join(got) == data
    assert max(map(len, got)) <= CHUNK_BYTES
    assert len(got) == 4


async def test_bytes_are_read_from_the_place_that_is_asked_for(tmp_path: Path) -> None:
    blobs = connect_blobs(tmp_path.as_uri())
    data = bytes(range(256)) * 2000
    await blobs.write(PATH, data)
    size, parts = await blobs.open(PATH, 300_001)
    assert (size, b"".join([part async for part in parts])) == (len(data), data[300_001:])


async def test_nothing_can_be_written_and_read(tmp_path: Path) -> None:
    blobs = connect_blobs(tmp_path.as_uri())
    await blobs.write(PATH, b"")
    size, parts = await blobs.open(PATH)
    assert (size, [part async for part in parts]) == (0, [])


async def test_missing_bytes_are_said_to_be_missing_and_may_be_deleted(tmp_path: Path) -> None:
    blobs = connect_blobs(tmp_path.as_uri())
    with pytest.raises(BlobMissing):
        await blobs.open(PATH)
    await blobs.delete(PATH)
    await blobs.write(PATH, b"x")
    await blobs.delete(PATH)
    with pytest.raises(BlobMissing):
        await blobs.open(PATH)


async def test_a_store_that_fails_is_unavailable_and_keeps_its_paths_to_itself(tmp_path: Path) -> None:
    blobs = connect_blobs(tmp_path.as_uri())
    (tmp_path / "assets").write_bytes(b"a file where a folder must be")
    for call in (blobs.write(PATH, b"x"), blobs.open(PATH), blobs.delete(PATH)):
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.reason == "ASSET_STORE_UNAVAILABLE"
        assert str(tmp_path) not in str(caught.value)


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "with space" / "assets"
    blobs = connect_blobs(folder.as_uri())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (blobs.location.storage_type, blobs.location.bucket_name) == ("local", "assets")
    assert blobs.location.path_in_bucket("assets/x") == "assets/x"


def test_a_bucket_is_named_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    location = connect_blobs("s3://pictures/gaia/dev").location
    assert (location.storage_type, location.bucket_name) == ("s3", "pictures")
    assert location.path_in_bucket("assets/x") == "gaia/dev/assets/x"
    location = connect_blobs("gs://pictures").location
    assert (location.storage_type, location.bucket_name, location.path_in_bucket("x")) == ("gcs", "pictures", "x")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    location = connect_blobs("az://pictures/gaia").location
    assert (location.storage_type, location.bucket_name) == ("azure", "pictures")
    assert location.path_in_bucket("assets/x") == "gaia/assets/x"


@pytest.mark.parametrize(
    "url",
    ["", "/var/assets", "memory:///", "https://bucket.example/x", "file:assets", "file:///", "az://container"],
)
def test_a_url_that_names_no_lasting_store_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ValueError, match=r"must|cannot be used"):
        connect_blobs(url)


def test_credentials_in_a_url_are_refused_without_repeating_them() -> None:
    with pytest.raises(ValueError, match="must hold no credentials") as caught:
        connect_blobs("s3://user:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)
