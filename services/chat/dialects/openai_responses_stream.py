"""The stream of a reply by a model of another family, as the events of OpenAI's responses.

response.created, response.in_progress
for each item of the output, one after the other:
    response.output_item.added
    reasoning   response.reasoning_summary_part.added, response.reasoning_summary_text.delta …, …text.done, …part.done
    message     response.content_part.added, response.output_text.delta …, response.output_text.done, …part.done
    refusal     response.content_part.added, response.refusal.delta …, response.refusal.done, …part.done
    call        response.function_call_arguments.delta …, response.function_call_arguments.done
    response.output_item.done
response.completed or response.incomplete, once the reply is stored
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.chat.dialects import openai_responses_reply as shapes
from services.chat.dialects.base import Stamp
from services.chat.dialects.call_order import CallOrder
from services.chat.dialects.openai_responses_reasoning import reasoning_item
from services.chat.turn import Delta, Reply, Thinking, ToolCallDelta
from shared.errors import BadUpstream


@dataclass(slots=True)
class _Reasoning:
    id: str
    redacted: str = ""
    signature: str = ""
    pieces: list[str] = field(default_factory=list)

    def item(self, text: str, status: str) -> dict[str, Any]:  # noqa: ARG002 - thinking has none
        return reasoning_item(Thinking(text, self.signature, self.redacted), self.id)

    def beginning(self) -> dict[str, Any]:
        return {"id": self.id, "type": "reasoning", "summary": []}


@dataclass(slots=True)
class _Message:
    id: str
    is_refusal: bool
    pieces: list[str] = field(default_factory=list)

    def part(self, text: str) -> dict[str, Any]:
        return shapes.said_part(text, is_refusal=self.is_refusal)

    def item(self, text: str, status: str) -> dict[str, Any]:
        return shapes.message_item(self.id, self.part(text), status)

    def beginning(self) -> dict[str, Any]:
        return {**self.item("", "in_progress"), "content": []}


@dataclass(slots=True)
class _Call:
    id: str
    index: int
    name: str
    call_id: str
    pieces: list[str] = field(default_factory=list)

    def item(self, text: str, status: str) -> dict[str, Any]:
        return shapes.call_item(self.id, self.call_id, self.name, text, status)

    def beginning(self) -> dict[str, Any]:
        return self.item("", "in_progress")


_Item = _Reasoning | _Message | _Call


class ResponseWriter:
    """Encodes deltas as events of a response to `asked`, numbered by `numbers`."""

    def __init__(self, asked: Mapping[str, Any], stamp: Stamp, numbers: Iterator[int]) -> None:
        self._stamp = stamp
        self._head = shapes.head(asked, stamp)
        self._model: str = asked["model"]
        self._numbers = numbers
        self._began = False
        self._records: list[bytes] = []
        self._output: list[dict[str, Any]] = []
        self._open: _Item | None = None
        self._calls: set[int] = set()
        self._order = CallOrder()

    def write(self, delta: Delta, model: str) -> bytes:
        """Returns the events of a delta, which may be none.

        Raises BadUpstream for a tool call that goes on after another one began: the dialect tells them one by one.
        """
        self._model = model
        if delta.thinking or delta.signature:
            self._think(delta.thinking, delta.signature)
        if delta.redacted:
            self._begin(_Reasoning(self._id("rs"), delta.redacted))
            self._finish(shapes.COMPLETED)
        if delta.text:
            self._speak(delta.text, is_refusal=delta.is_refusal)
        for call in self._order.take(delta.tool_calls):
            self._call(call)
        if delta.finish_reason is not None:
            self._end_calls()
            self._finish(shapes.status_of(delta.finish_reason))
        return self._taken()

    def end(self, reply: Reply) -> bytes:
        """Returns the last event, which holds the whole response."""
        self._announce()
        self._end_calls()
        self._finish(shapes.status_of(reply.finish_reason))
        response = shapes.whole(self._head, self._model, self._output, reply)
        self._event(f"response.{response['status']}", response=response)
        return self._taken()

    def _think(self, text: str, signature: str) -> None:
        item = self._open
        if not isinstance(item, _Reasoning):
            self._begin(item := _Reasoning(self._id("rs")))
        if text:
            if not item.pieces:
                self._item_event("reasoning_summary_part.added", item, summary_index=0, part=_summary(""))
            item.pieces.append(text)
            self._item_event("reasoning_summary_text.delta", item, summary_index=0, delta=text)
        if signature:
            item.signature = signature
            self._finish(shapes.COMPLETED)

    def _speak(self, text: str, *, is_refusal: bool) -> None:
        item = self._open
        if not isinstance(item, _Message) or item.is_refusal is not is_refusal:
            self._begin(item := _Message(self._id("msg"), is_refusal))
            self._item_event("content_part.added", item, content_index=0, part=item.part(""))
        item.pieces.append(text)
        if is_refusal:
            self._item_event("refusal.delta", item, content_index=0, delta=text)
        else:
            self._item_event("output_text.delta", item, content_index=0, delta=text, logprobs=[])

    def _end_calls(self) -> None:
        for call in self._order.rest():
            self._call(call)

    def _call(self, call: ToolCallDelta) -> None:
        item = self._open
        if not isinstance(item, _Call) or item.index != call.index:
            if call.index in self._calls:
                raise BadUpstream("the model's provider mixed the arguments of several tool calls")
            self._calls.add(call.index)
            self._begin(item := _Call(self._id("fc"), call.index, call.name, call.id or self._id("call")))
        if call.arguments:
            item.pieces.append(call.arguments)
            self._item_event("function_call_arguments.delta", item, delta=call.arguments)

    def _announce(self) -> None:
        if not self._began:
            self._began = True
            response = shapes.beginning(self._head, self._model)
            self._event("response.created", response=response)
            self._event("response.in_progress", response=response)

    def _begin(self, item: _Item) -> None:
        self._announce()
        self._finish(shapes.COMPLETED)
        self._open = item
        self._event("response.output_item.added", output_index=len(self._output), item=item.beginning())

    def _finish(self, status: str) -> None:
        """Ends the item that is being told, if there is one."""
        item = self._open
        if item is None:
            return
        text = "".join(item.pieces)
        match item:
            case _Message():
                if item.is_refusal:
                    self._item_event("refusal.done", item, content_index=0, refusal=text)
                else:
                    self._item_event("output_text.done", item, content_index=0, text=text, logprobs=[])
                self._item_event("content_part.done", item, content_index=0, part=item.part(text))
            case _Call():
                self._item_event("function_call_arguments.done", item, arguments=text, name=item.name)
            case _Reasoning() if text:
                self._item_event("reasoning_summary_text.done", item, summary_index=0, text=text)
                self._item_event("reasoning_summary_part.done", item, summary_index=0, part=_summary(text))
        done = item.item(text, status)
        self._event("response.output_item.done", output_index=len(self._output), item=done)
        self._output.append(done)
        self._open = None

    def _id(self, kind: str) -> str:
        """Returns the id of the item that begins next."""
        return shapes.item_id(self._stamp, kind, len(self._output) + (self._open is not None))

    def _item_event(self, kind: str, item: _Item, **fields: Any) -> None:
        self._event(f"response.{kind}", item_id=item.id, output_index=len(self._output), **fields)

    def _event(self, kind: str, **fields: Any) -> None:
        self._records.append(shapes.event(kind, next(self._numbers), fields))

    def _taken(self) -> bytes:
        records, self._records = b"".join(self._records), []
        return records


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}
