"""gaia.chat.v1.PersonaService, in the order of the contract."""

from typing import Any

from gaia.chat.v1 import persona_pb2, persona_service_pb2_grpc
from gaia.chat.v1 import persona_service_pb2 as pb
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from services.chat.personas import Change, Persona, Personas
from shared.errors import InvalidArgument
from shared.identity.principal import current_principal

Context = Any  # grpc.aio.ServicerContext, which the handlers do not use


class PersonaHandlers(persona_service_pb2_grpc.PersonaServiceServicer):
    """The caller's personas."""

    def __init__(self, personas: Personas) -> None:
        self._personas = personas

    async def ListPersonas(self, request: pb.ListPersonasRequest, context: Context) -> pb.ListPersonasResponse:
        """Lists the personas."""
        active_only = request.active_only if request.HasField("active_only") else True
        found, total = await self._personas.list(current_principal().user_id, active_only=active_only)
        return pb.ListPersonasResponse(
            success=True, message=f"found {total} personas", personas=map(_encode, found), total=total
        )

    async def GetCurrentPersona(
        self, request: pb.GetCurrentPersonaRequest, context: Context
    ) -> pb.GetCurrentPersonaResponse:
        """Returns the persona of chats that name none."""
        persona = await self._personas.current(current_principal().user_id)
        return pb.GetCurrentPersonaResponse(
            success=True, message=f"{persona.name} is the current persona", persona=_encode(persona)
        )

    async def GetPersona(self, request: pb.GetPersonaRequest, context: Context) -> pb.GetPersonaResponse:
        """Returns a persona."""
        persona = await self._personas.get(current_principal().user_id, request.id)
        return pb.GetPersonaResponse(success=True, message=f"found {persona.name}", persona=_encode(persona))

    async def CreatePersona(self, request: pb.CreatePersonaRequest, context: Context) -> pb.CreatePersonaResponse:
        """Makes a persona."""
        wanted = Change(
            request.name,
            request.description,
            request.system_prompt,
            _json(request.personality_traits, "personality_traits"),
            _json(request.capabilities, "capabilities"),
        )
        persona = await self._personas.create(current_principal().user_id, wanted)
        return pb.CreatePersonaResponse(success=True, message=f"created {persona.name}", persona=_encode(persona))

    async def UpdatePersona(self, request: pb.UpdatePersonaRequest, context: Context) -> pb.UpdatePersonaResponse:
        """Changes the fields of a persona that the request holds."""
        change = Change(
            request.name if request.HasField("name") else None,
            request.description if request.HasField("description") else None,
            request.system_prompt if request.HasField("system_prompt") else None,
            _json(request.personality_traits, "personality_traits") if request.HasField("personality_traits") else None,
            _json(request.capabilities, "capabilities") if request.HasField("capabilities") else None,
            request.is_active if request.HasField("is_active") else None,
        )
        persona = await self._personas.update(current_principal().user_id, request.id, change)
        return pb.UpdatePersonaResponse(success=True, message=f"changed {persona.name}", persona=_encode(persona))

    async def DeletePersona(self, request: pb.DeletePersonaRequest, context: Context) -> pb.DeletePersonaResponse:
        """Makes a persona inactive."""
        persona = await self._personas.delete(current_principal().user_id, request.id)
        return pb.DeletePersonaResponse(success=True, message=f"deleted {persona.name}", persona=_encode(persona))

    async def SetCurrentPersona(
        self, request: pb.SetCurrentPersonaRequest, context: Context
    ) -> pb.SetCurrentPersonaResponse:
        """Sets the persona of chats that name none."""
        persona = await self._personas.set_current(current_principal().user_id, request.persona_id)
        return pb.SetCurrentPersonaResponse(
            success=True, message=f"{persona.name} is the current persona", persona=_encode(persona)
        )

    async def InitializeDefaultPersona(
        self, request: pb.InitializeDefaultPersonaRequest, context: Context
    ) -> pb.InitializeDefaultPersonaResponse:
        """Stores the default persona."""
        persona = await self._personas.restore_default(current_principal().user_id)
        return pb.InitializeDefaultPersonaResponse(
            success=True, message="the default persona is there", persona=_encode(persona)
        )


def _encode(persona: Persona) -> persona_pb2.Persona:
    message = persona_pb2.Persona(
        id=persona.id,
        name=persona.name,
        description=persona.description,
        system_prompt=persona.system_prompt,
        is_active=persona.is_active,
        created_by=current_principal().user_id,
    )
    # An empty object is one, not null.
    message.personality_traits.SetInParent()
    message.personality_traits.update(dict(persona.personality_traits))
    message.capabilities.SetInParent()
    message.capabilities.update(dict(persona.capabilities))
    if persona.created_at is not None and persona.updated_at is not None:
        message.created_at.FromDatetime(persona.created_at)
        message.updated_at.FromDatetime(persona.updated_at)
    return message


def _json(struct: Struct, field: str) -> dict[str, Any]:
    try:
        decoded: dict[str, Any] = json_format.MessageToDict(struct)
    except (ValueError, json_format.SerializeToJsonError) as error:
        # gRPC can carry them, JSON and the database cannot.
        raise InvalidArgument.field(field, "must hold no infinite number and no NaN") from error
    return decoded
