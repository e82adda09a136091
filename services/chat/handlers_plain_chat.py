"""gaia.chat.v1.PlainChatService, in the order of the contract."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from gaia.chat.v1 import plain_chat_service_pb2 as pb
from gaia.chat.v1 import plain_chat_service_pb2_grpc

from services.chat.asking import Context, asking
from services.chat.chatting import Chat, ChatCall, Chatted
from services.chat.conversations import Conversations
from services.chat.handlers_conversations import next_page
from services.chat.responding import Fallback
from services.chat.selection import Wish
from services.chat.words import WholeWords
from shared.db.paging import page_size, parse_token
from shared.errors import InvalidArgument
from shared.identity.principal import current_principal

NEW = "new"
"""In the place of a conversation's id: begin one."""


class PlainChatHandlers(plain_chat_service_pb2_grpc.PlainChatServiceServicer):
    """The chat of version 0.3. `total_seconds` is the longest time of a reply."""

    def __init__(self, chat: Chat, conversations: Conversations, total_seconds: float) -> None:
        self._chat = chat
        self._conversations = conversations
        self._total_seconds = total_seconds

    async def PlainChat(self, request: pb.PlainChatRequest, context: Context) -> pb.PlainChatResponse:
        """Answers a message."""
        async with await self._chat.prepare(self._decode(request, context, is_stream=False)) as prepared:
            answer = await self._chat.answer(prepared)
        return pb.PlainChatResponse(response=answer.reply.text, conversation_id=answer.conversation_id)

    async def StreamPlainChat(
        self, request: pb.PlainChatRequest, context: Context
    ) -> AsyncIterator[pb.StreamPlainChatResponse]:
        """Answers a message with events; content comes in whole words."""
        async with await self._chat.prepare(self._decode(request, context, is_stream=True)) as prepared:
            model = prepared.selection.model
            yield pb.StreamPlainChatResponse(
                type="metadata", conversation_id=str(prepared.conversation_id), model=model.id, provider=model.provider
            )
            words = WholeWords()
            async with aclosing(self._chat.stream(prepared)) as events:
                async for event in events:
                    if isinstance(event, Chatted):
                        if text := words.rest():
                            yield pb.StreamPlainChatResponse(type="content", content=text)
                        yield pb.StreamPlainChatResponse(type="done")
                        continue
                    happened = event[0]
                    if not isinstance(happened, Fallback) and (text := words.add(happened.text)):
                        yield pb.StreamPlainChatResponse(type="content", content=text)

    async def ListPlainConversations(
        self, request: pb.ListPlainConversationsRequest, context: Context
    ) -> pb.ListPlainConversationsResponse:
        """Lists the caller's conversations."""
        size = page_size(request.page_size)
        found = await self._conversations.list(current_principal().user_id, parse_token(request.page_token), size + 1)
        response = pb.ListPlainConversationsResponse(next_page_token=next_page(found, size))
        for one in found[:size]:
            shown = response.conversations.add(conversation_id=str(one.id), title=one.title)
            shown.created_at.FromDatetime(one.created_at)
        return response

    async def CreatePlainConversation(
        self, request: pb.CreatePlainConversationRequest, context: Context
    ) -> pb.CreatePlainConversationResponse:
        """Begins a conversation."""
        made = await self._conversations.create(current_principal().user_id, request.title)
        return pb.CreatePlainConversationResponse(conversation_id=str(made.id), title=made.title)

    def _decode(self, request: pb.PlainChatRequest, context: Context, *, is_stream: bool) -> ChatCall:
        if not request.message.strip():
            # What the clients of this version compare with, to the letter.
            raise InvalidArgument("Missing required field: message", reason="MISSING_FIELD")
        begins = request.conversation_id == NEW
        method = "StreamPlainChat" if is_stream else "PlainChat"
        who = asking(context, self._total_seconds, method, request.SerializeToString(deterministic=True))
        return ChatCall(
            message=request.message,
            wish=Wish(),
            caller=who.caller,
            request_id=who.request_id,
            seconds=who.seconds,
            once=who.once,
            is_stream=is_stream,
            tells_conversation=is_stream,
            conversation_id="" if begins else request.conversation_id,
            begins_conversation=begins,
        )
