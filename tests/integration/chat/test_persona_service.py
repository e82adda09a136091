"""Personas, through the gRPC door, on a real database."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from gaia.chat.v1 import persona_service_pb2 as pb
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from gaia.chat.v1.persona_pb2 import Persona
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from services.chat.personas import MAX_PERSONAS
from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client
from tests.integration.chat.scripted_provider import ScriptedProvider, openai_completion
from tests.support.auth import Auth


@pytest.fixture
async def stranger(address: str, auth: Auth) -> AsyncIterator[Client]:
    key = await auth.new_key()
    async with connect(address) as channel:
        yield Client(channel, (("x-api-key", key),), auth.owner_url)


async def make(client: Client, name: str, **fields: Any) -> Persona:
    made = await client.call(client.personas.CreatePersona, pb.CreatePersonaRequest(name=name, **fields))
    assert isinstance(made.persona, Persona)
    return made.persona


async def get(client: Client, persona_id: str) -> Persona:
    found = (await client.call(client.personas.GetPersona, pb.GetPersonaRequest(id=persona_id))).persona
    assert isinstance(found, Persona)
    return found


async def current(client: Client) -> str:
    return str((await client.call(client.personas.GetCurrentPersona, pb.GetCurrentPersonaRequest())).persona.name)


async def choose(client: Client, persona_id: str) -> Any:
    return await client.call(client.personas.SetCurrentPersona, pb.SetCurrentPersonaRequest(persona_id=persona_id))


async def names(client: Client, **fields: Any) -> list[str]:
    listed = await client.call(client.personas.ListPersonas, pb.ListPersonasRequest(**fields))
    assert listed.total == len(listed.personas)
    return [one.name for one in listed.personas]


def struct(**values: Any) -> Struct:
    made = Struct()
    made.update(values)
    return made


class TestKeeping:
    async def test_what_was_made_is_there_as_it_was_made(self, client: Client):
        traits = struct(warmth=0.7, level=3, tags=["a", {"b": None}], nul="x\x00y \\u0000")
        made = await make(client, " Pirate ", description="d", system_prompt="Arr!", personality_traits=traits)
        found = await get(client, made.id)
        assert found == made
        assert (made.name, made.description, made.system_prompt, made.is_active) == ("Pirate", "d", "Arr!", True)
        assert json_format.MessageToDict(made.personality_traits) == {
            "warmth": 0.7,
            "level": 3,
            "tags": ["a", {"b": None}],
            "nul": "x\ufffdy \\u0000",
        }
        assert made.HasField("capabilities")
        [owner] = await client.rows("SELECT id::text FROM users WHERE email = $1", await client.email())
        assert made.created_by == owner["id"]

    async def test_a_change_leaves_what_it_does_not_name(self, client: Client):
        made = await make(client, "Pirate", description="d", system_prompt="Arr!", capabilities=struct(a=1))
        request = pb.UpdatePersonaRequest(id=made.id, name="Captain", description="")
        changed = (await client.call(client.personas.UpdatePersona, request)).persona
        assert (changed.name, changed.description, changed.system_prompt) == ("Captain", "", "Arr!")
        assert changed.capabilities == made.capabilities
        assert changed.updated_at.ToDatetime() > made.updated_at.ToDatetime()
        request = pb.UpdatePersonaRequest(id=made.id, capabilities=struct())
        assert not (await client.call(client.personas.UpdatePersona, request)).persona.capabilities.fields

    async def test_a_deleted_one_leaves_the_list_and_can_come_back(self, client: Client):
        made = await make(client, "Pirate")
        deleted = await client.call(client.personas.DeletePersona, pb.DeletePersonaRequest(id=made.id))
        assert deleted.persona.is_active is False
        assert await names(client) == []
        assert await names(client, active_only=False) == ["Pirate"]
        assert (await get(client, made.id)).is_active is False
        await client.call(client.personas.UpdatePersona, pb.UpdatePersonaRequest(id=made.id, is_active=True))
        assert await names(client) == ["Pirate"]

    async def test_the_newest_is_listed_first(self, client: Client):
        for name in ("a", "b", "c"):
            await make(client, name)
        assert await names(client) == ["c", "b", "a"]


class TestNames:
    async def test_an_active_persona_has_its_name_alone_among_its_owners(self, client: Client, stranger: Client):
        first, other = await make(client, "Pirate"), await make(client, "Other")
        await make(stranger, "Pirate")
        for method, request in (
            (client.personas.CreatePersona, pb.CreatePersonaRequest(name="PIRATE")),
            (client.personas.UpdatePersona, pb.UpdatePersonaRequest(id=other.id, name="pirate")),
        ):
            error = await client.refused(method, request)
            assert error.code is grpc.StatusCode.ALREADY_EXISTS
            assert "choose another" in error.message
        await client.call(client.personas.DeletePersona, pb.DeletePersonaRequest(id=first.id))
        await make(client, "Pirate")
        back = pb.UpdatePersonaRequest(id=first.id, is_active=True)
        refused = await client.refused(client.personas.UpdatePersona, back)
        assert refused.code is grpc.StatusCode.ALREADY_EXISTS
        assert "another active persona has its name" in refused.message


class TestCurrent:
    async def test_a_user_who_has_set_none_has_the_default_one_and_can_store_it(self, client: Client):
        assert await current(client) == "Default"
        assert not (await get(client, "default")).HasField("created_at")
        assert await names(client) == []
        for _ in range(2):
            made = await client.call(client.personas.InitializeDefaultPersona, pb.InitializeDefaultPersonaRequest())
            assert (made.persona.id, made.persona.HasField("created_at")) == ("default", True)
        assert await names(client) == ["Default"]

    async def test_the_one_that_is_set_is_current_until_another_is_or_it_is_deleted(self, client: Client):
        first, second = await make(client, "first"), await make(client, "second")
        await choose(client, first.id)
        assert await current(client) == "first"
        await choose(client, second.id)
        assert await current(client) == "second"
        await choose(client, "default")
        assert await current(client) == "Default"
        await choose(client, second.id)
        await client.call(client.personas.DeletePersona, pb.DeletePersonaRequest(id=second.id))
        assert await current(client) == "Default"
        request = pb.SetCurrentPersonaRequest(persona_id=second.id)
        assert (await client.refused(client.personas.SetCurrentPersona, request)).code is grpc.StatusCode.NOT_FOUND

    async def test_many_choices_at_once_leave_one(self, client: Client):
        made = [await make(client, f"p{number}") for number in range(5)]
        await asyncio.gather(*(choose(client, one.id) for one in made * 4))
        [row] = await client.rows(
            "SELECT count(*) FROM personas p JOIN users u ON u.id = p.user_id WHERE p.is_current AND u.email = $1",
            await client.email(),
        )
        assert row["count"] == 1

    async def test_chats_that_name_none_speak_as_the_current_one(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("ok"))
        pirate = await make(client, "Pirate", system_prompt="Arr!")
        other = await make(client, "Other", system_prompt="Hm.")
        await choose(client, pirate.id)
        for persona_id, prompt in (("", "Arr!"), ("default", "Arr!"), (other.id, "Hm."), (pirate.id, "Arr!")):
            request = ChatRequest(message="x", model="gpt-4o", persona_id=persona_id)
            await client.call(client.chat.Chat, request)
            assert openai_upstream.requests[-1].body["messages"][0]["content"] == prompt
        await choose(client, "default")
        await client.call(client.chat.Chat, ChatRequest(message="x", model="gpt-4o"))
        assert openai_upstream.requests[-1].body["messages"][0]["role"] == "user"


class TestOwnership:
    async def test_a_foreign_and_an_unknown_id_are_not_there(self, client: Client, stranger: Client):
        mine = await make(client, "mine")
        stub = stranger.personas
        for persona_id in (mine.id, str(uuid.uuid4()), "a\x00b", "x" * 1000):
            for method, request in (
                (stub.GetPersona, pb.GetPersonaRequest(id=persona_id)),
                (stub.UpdatePersona, pb.UpdatePersonaRequest(id=persona_id, name="x")),
                (stub.DeletePersona, pb.DeletePersonaRequest(id=persona_id)),
                (stub.SetCurrentPersona, pb.SetCurrentPersonaRequest(persona_id=persona_id)),
            ):
                error = await stranger.refused(method, request)
                assert error.code is grpc.StatusCode.NOT_FOUND
                assert error.message.startswith("there is no persona")
        assert await names(stranger) == []
        assert await get(client, mine.id) == mine


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"name": " "}, "name: must have 1 to 100 characters, not 0"),
            ({"name": "x" * 101}, "name: must have 1 to 100 characters, not 101"),
            ({"name": "x", "description": "x" * 2001}, "description: must have at most 2000"),
            ({"name": "x", "system_prompt": "x" * 32001}, "system_prompt: must have at most 32000"),
            ({"name": "x", "capabilities": struct(a="x" * 20_000)}, "capabilities: must be at most 16384 bytes"),
            ({"name": "x", "capabilities": struct(a=float("nan"))}, "capabilities: must hold no infinite number"),
        ],
    )
    async def test_a_faulty_persona_is_told_what_would_be_right(
        self, client: Client, fields: dict[str, Any], says: str
    ):
        error = await client.refused(client.personas.CreatePersona, pb.CreatePersonaRequest(**fields))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert says in error.message
        assert await names(client, active_only=False) == []

    async def test_choosing_nothing_is_no_choice(self, client: Client):
        error = await client.refused(client.personas.SetCurrentPersona, pb.SetCurrentPersonaRequest())
        assert (error.code, error.message) == (grpc.StatusCode.INVALID_ARGUMENT, "persona_id: is missing")

    async def test_there_is_a_most(self, client: Client):
        await client.rows(
            "INSERT INTO personas (id, user_id, name) SELECT 'p' || n, u.id, 'p' || n FROM users u, "
            "generate_series(1, $2) n WHERE u.email = $1",
            await client.email(),
            MAX_PERSONAS,
        )
        error = await client.refused(client.personas.CreatePersona, pb.CreatePersonaRequest(name="one more"))
        assert error.code is grpc.StatusCode.FAILED_PRECONDITION
        assert "delete one first" in error.message
        await client.call(client.personas.DeletePersona, pb.DeletePersonaRequest(id="p1"))
        await make(client, "one more")
        back = await client.refused(client.personas.UpdatePersona, pb.UpdatePersonaRequest(id="p1", is_active=True))
        assert (back.code, "delete one first" in back.message) == (grpc.StatusCode.FAILED_PRECONDITION, True)
        await client.call(client.personas.UpdatePersona, pb.UpdatePersonaRequest(id="p2", is_active=True))

    async def test_the_default_persona_can_be_changed_by_whoever_never_stored_it(self, client: Client):
        prompt = pb.UpdatePersonaRequest(id="default", system_prompt="Be brief.")
        changed = (await client.call(client.personas.UpdatePersona, prompt)).persona
        assert (changed.name, changed.system_prompt) == ("Default", "Be brief.")
        assert (await get(client, "default")).system_prompt == "Be brief."
