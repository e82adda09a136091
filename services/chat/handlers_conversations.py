"""gaia.chat.v1.ConversationService, in the order of the contract."""

from collections.abc import Sequence
from typing import Any

from gaia.chat.v1 import conversation_pb2, conversation_service_pb2_grpc
from gaia.chat.v1 import conversation_service_pb2 as pb

from services.chat.conversations import Conversation, Conversations, Said
from shared.db.paging import Place, page_size, parse_token
from shared.identity.principal import current_principal

Context = Any  # grpc.aio.ServicerContext, which the handlers do not use


class ConversationHandlers(conversation_service_pb2_grpc.ConversationServiceServicer):
    """The caller's conversations."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    async def CreateConversation(
        self, request: pb.CreateConversationRequest, context: Context
    ) -> pb.CreateConversationResponse:
        """Begins a conversation."""
        made = await self._conversations.create(current_principal().user_id, request.title)
        return pb.CreateConversationResponse(conversation=_encode(made))

    async def ListConversations(
        self, request: pb.ListConversationsRequest, context: Context
    ) -> pb.ListConversationsResponse:
        """Lists the conversations."""
        size = page_size(request.page_size)
        found = await self._conversations.list(current_principal().user_id, parse_token(request.page_token), size + 1)
        return pb.ListConversationsResponse(
            conversations=map(_encode, found[:size]), next_page_token=next_page(found, size)
        )

    async def SearchConversations(
        self, request: pb.SearchConversationsRequest, context: Context
    ) -> pb.SearchConversationsResponse:
        """Finds conversations by words."""
        size, after = page_size(request.page_size), parse_token(request.page_token)
        found = await self._conversations.search(current_principal().user_id, request.q, after, size + 1)
        return pb.SearchConversationsResponse(
            conversations=map(_encode, found[:size]), next_page_token=next_page(found, size)
        )

    async def GetConversation(self, request: pb.GetConversationRequest, context: Context) -> pb.GetConversationResponse:
        """Returns a conversation."""
        found = await self._conversations.get(current_principal().user_id, request.id)
        return pb.GetConversationResponse(conversation=_encode(found))

    async def ListConversationMessages(
        self, request: pb.ListConversationMessagesRequest, context: Context
    ) -> pb.ListConversationMessagesResponse:
        """Lists the messages of a conversation."""
        size, after = page_size(request.page_size), parse_token(request.page_token)
        page = await self._conversations.messages(current_principal().user_id, request.id, after.id, size)
        token = Place(page.messages[-1].created_at, page.messages[-1].id).token() if page.has_more else ""
        return pb.ListConversationMessagesResponse(messages=map(_encode_said, page.messages), next_page_token=token)

    async def UpdateConversation(
        self, request: pb.UpdateConversationRequest, context: Context
    ) -> pb.UpdateConversationResponse:
        """Changes the named fields of a conversation."""
        wanted = request.conversation
        changed = await self._conversations.update(
            current_principal().user_id, wanted.id, request.update_mask.paths, wanted.title
        )
        return pb.UpdateConversationResponse(conversation=_encode(changed))

    async def DeleteConversation(
        self, request: pb.DeleteConversationRequest, context: Context
    ) -> pb.DeleteConversationResponse:
        """Deletes a conversation."""
        await self._conversations.delete(current_principal().user_id, request.id)
        return pb.DeleteConversationResponse()


def next_page(found: Sequence[Conversation], size: int) -> str:
    """Returns the token of the next page, when more were found than one page holds."""
    return Place(found[size - 1].updated_at, found[size - 1].id).token() if len(found) > size else ""


def _encode(one: Conversation) -> conversation_pb2.Conversation:
    message = conversation_pb2.Conversation(id=str(one.id), title=one.title, preview=one.preview)
    message.created_at.FromDatetime(one.created_at)
    message.updated_at.FromDatetime(one.updated_at)
    return message


def _encode_said(one: Said) -> conversation_pb2.ConversationMessage:
    message = conversation_pb2.ConversationMessage(
        id=str(one.id),
        role=one.role,
        content=one.content,
        model=one.model,
        provider=one.provider,
        tokens_used=one.tokens_used,
        is_complete=one.is_complete,
    )
    message.created_at.FromDatetime(one.created_at)
    return message
