"""A database on another server: here, one that lets in by password only, with an owner who may or may not do much."""

import socket
import uuid

import asyncpg
import pytest

from deploy.cli.preparation import prepare
from deploy.local.database import connected, without_rights
from deploy.local.developer import EMAIL, ensure_developer_key
from deploy.local.errors import StackError
from deploy.local.external import prepare_roles
from deploy.local.home import write_secret
from deploy.migrations.runner import migrate
from shared.identity import api_key

SERVICES = ("asset", "auth", "chat")


@pytest.fixture
async def server(running):
    """Makes owners of databases on the server, and takes Gaia's roles away at the end."""
    admin = await asyncpg.connect(running.cluster.url("postgres", "postgres"))
    databases, owners = [], []

    async def owner(rights: str, *, create: bool = True) -> str:
        name = f"owner_{uuid.uuid4().hex[:8]}"
        owners.append(name)
        databases.append(f"db_{name}")
        await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'p@ss/word' {rights}")
        if create:
            await admin.execute(f"CREATE DATABASE db_{name} OWNER {name}")
        return running.cluster.url(name, f"db_{name}", "p@ss/word")

    owner.admin = admin
    yield owner
    for database in databases:
        await admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    for role in [f"gaia_{service}" for service in SERVICES] + owners:
        await admin.execute(f"DROP ROLE IF EXISTS {role}")
    await admin.close()


async def user_of(url: str) -> str:
    async with connected(url) as connection:
        return await connection.fetchval("SELECT current_user")


async def may(url: str, statement: str) -> bool:
    async with connected(url) as connection:
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            return False
    return True


async def test_an_owner_who_may_makes_a_role_for_each_service_with_its_own_rights_only(server, tmp_home):
    url = await server("CREATEROLE")
    urls = await prepare_roles(url, tmp_home, {}, pytest.fail)
    migrate(url)
    assert {service: await user_of(urls[service]) for service in SERVICES} == {
        service: f"gaia_{service}" for service in SERVICES
    }
    assert await may(urls["auth"], "SELECT FROM api_keys")
    assert not await may(urls["chat"], "SELECT FROM api_keys")
    assert not await may(urls["asset"], "SELECT FROM chat_messages")
    assert not await may(urls["auth"], "CREATE TABLE mine ()")


async def test_the_roles_keep_their_passwords_from_start_to_start(server, tmp_home):
    url = await server("CREATEROLE")
    assert await prepare_roles(url, tmp_home, {}, pytest.fail) == await prepare_roles(url, tmp_home, {}, pytest.fail)
    assert tmp_home.database_passwords.stat().st_mode & 0o077 == 0


async def test_a_role_under_somebody_elses_password_is_left_alone_and_the_given_user_serves(server, tmp_home):
    url = await server("CREATEROLE")
    await server.admin.execute("CREATE ROLE gaia_chat LOGIN PASSWORD 'of somebody else'")
    notes = []
    urls = await prepare_roles(url, tmp_home, {}, notes.append)
    assert urls["chat"] == url
    assert await user_of(urls["auth"]) == "gaia_auth"
    [note] = notes
    assert note.startswith("DATABASE_URL: the role gaia_chat on ")
    assert note.endswith("set GAIA_CHAT_DB_PASSWORD to use the role")


async def test_a_role_whose_password_is_given_is_used(server, tmp_home):
    url = await server("CREATEROLE")
    await server.admin.execute("CREATE ROLE gaia_chat LOGIN PASSWORD 'known'")
    urls = await prepare_roles(url, tmp_home, {"chat": "known"}, pytest.fail)
    assert await user_of(urls["chat"]) == "gaia_chat"


async def test_an_owner_who_may_not_make_roles_serves_all_services_and_the_operator_is_told(server, tmp_home):
    url = await server("")
    notes = []
    assert await prepare_roles(url, tmp_home, {}, notes.append) == dict.fromkeys(("auth", "chat", "asset"), url)
    assert len(notes) == 1
    assert "may not create roles" in notes[0]
    assert "p@ss" not in notes[0]


async def test_a_role_made_after_the_schema_is_found_to_have_no_rights(server, tmp_home):
    url = await server("CREATEROLE")
    migrate(url)
    await prepare_roles(url, tmp_home, {}, pytest.fail)
    async with connected(url) as connection:
        assert await without_rights(connection, ["auth", "chat"]) == ["auth", "chat"]


async def test_a_database_that_is_missing_is_created(server, tmp_home):
    url = await server("CREATEROLE CREATEDB", create=False)
    await prepare_roles(url, tmp_home, {}, pytest.fail)
    assert await user_of(url)


async def test_a_database_that_is_missing_and_may_not_be_created_is_named(server, tmp_home):
    url = await server("", create=False)
    with pytest.raises(
        StackError, match=r"^DATABASE_URL: the database db_owner_\w+ does not exist and its user may not"
    ):
        await prepare_roles(url, tmp_home, {}, pytest.fail)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:hunter2@127.0.0.1:{port}/gaia", "cannot connect to 127.0.0.1:{port}/gaia: "),
        ("postgresql://me:hunter2/x@127.0.0.1/gaia", "an address that cannot be read"),
        ("postgresql://me:12/hunter2@127.0.0.1/gaia", "an address that cannot be read"),
    ],
)
async def test_a_server_that_cannot_be_reached_is_named_without_the_password(tmp_home, url, said):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = nobody.getsockname()[1]
        with pytest.raises(StackError) as refused:
            await prepare_roles(url.format(port=port), tmp_home, {}, pytest.fail)
    assert said.format(port=port) in str(refused.value)
    assert str(refused.value).startswith("DATABASE_URL: ")
    assert "hunter2" not in str(refused.value)


async def test_a_wrong_password_is_said_to_be_one(server):
    url = (await server("")).replace("word", "bad")
    with pytest.raises(StackError, match=r"password authentication failed for user"):
        async with connected(url):
            pass


async def test_an_empty_database_is_prepared_with_an_administrator_and_again_without_harm(server):
    url = await server("CREATEROLE")
    first = await prepare(url, email="admin@gaia.dev", environment="staging", passwords={"auth": "given"})
    assert first.key.startswith("gaia_staging_")
    assert set(first.new_urls) == {"chat", "asset"}
    assert await user_of(first.new_urls["chat"]) == "gaia_chat"
    async with connected(url) as connection:
        stored = await connection.fetchrow(
            "SELECT u.email, k.permissions, k.key_hash FROM api_keys k JOIN users u ON u.id = k.user_id"
        )
    assert (stored["email"], stored["key_hash"]) == ("admin@gaia.dev", api_key.digest(first.key))
    assert '"admin"' in stored["permissions"]
    again = await prepare(url, email="admin@gaia.dev", environment="staging", passwords={})
    assert (again.key, dict(again.new_urls), list(again.unchanged)) == (None, {}, ["auth", "chat", "asset"])
    assert await user_of(first.new_urls["chat"]) == "gaia_chat"


async def test_an_owner_without_the_right_to_make_roles_is_told_what_is_missing(server):
    with pytest.raises(StackError, match=r"may not create roles on .*CREATEROLE$"):
        await prepare(await server(""), email="a@b.c", environment="dev", passwords={})


@pytest.mark.parametrize(
    ("email", "environment", "said"),
    [("nobody", "dev", "--user: 'nobody' is no email address"), ("a@b.c", "Dev_1", "--env: 'Dev_1' must begin with")],
)
async def test_what_is_wrong_is_said_before_anything_is_changed(server, email, environment, said):
    url = await server("CREATEROLE CREATEDB", create=False)
    with pytest.raises(StackError, match=said):
        await prepare(url, email=email, environment=environment, passwords={})
    with pytest.raises(StackError, match="does not exist"):
        async with connected(url):
            pass


class TestDeveloperKey:
    @pytest.fixture
    async def url(self, server):
        url = await server("")
        migrate(url)
        return url

    async def keys(self, url):
        async with connected(url) as connection:
            rows = await connection.fetch(
                "SELECT k.key_hash, k.is_active FROM api_keys k JOIN users u ON u.id = k.user_id WHERE u.email = $1",
                EMAIL,
            )
        return {row["key_hash"]: row["is_active"] for row in rows}

    async def test_is_made_once(self, url, tmp_home):
        await ensure_developer_key(url, tmp_home, "dev")
        key = tmp_home.dev_api_key.read_text().strip()
        await ensure_developer_key(url, tmp_home, "dev")
        assert tmp_home.dev_api_key.read_text().strip() == key
        assert tmp_home.dev_api_key.stat().st_mode & 0o777 == 0o600
        assert await self.keys(url) == {api_key.digest(key): True}

    async def test_is_replaced_when_it_is_lost_and_the_lost_one_ends(self, url, tmp_home):
        await ensure_developer_key(url, tmp_home, "dev")
        lost = tmp_home.dev_api_key.read_text().strip()
        tmp_home.dev_api_key.unlink()
        await ensure_developer_key(url, tmp_home, "dev")
        key = tmp_home.dev_api_key.read_text().strip()
        assert await self.keys(url) == {api_key.digest(lost): False, api_key.digest(key): True}

    async def test_is_replaced_when_the_database_does_not_know_it(self, url, tmp_home):
        write_secret(tmp_home.dev_api_key, api_key.generate("dev"))
        await ensure_developer_key(url, tmp_home, "dev")
        assert await self.keys(url) == {api_key.digest(tmp_home.dev_api_key.read_text().strip()): True}

    async def test_is_of_the_environment_that_runs(self, url, tmp_home):
        await ensure_developer_key(url, tmp_home, "dev")
        await ensure_developer_key(url, tmp_home, "staging")
        assert tmp_home.dev_api_key.read_text().startswith("gaia_staging_")
