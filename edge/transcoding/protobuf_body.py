"""Requests whose body is the request message in protobuf's binary form."""

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from edge.transcoding.binding import RequestBinder
from edge.transcoding.violations import BindingError, Violation


class ProtobufBinder:
    """Binds binary bodies of a rule whose body is `*`; path captures are set in them."""

    def __init__(
        self, binder: RequestBinder, input_: Descriptor, path_fields: Sequence[str], *, one_source: bool
    ) -> None:
        self._binder = binder
        self._name = input_.full_name
        self._parse: Callable[[bytes], Message] = GetMessageClass(input_).FromString
        self._paths = [(path, path.split(".")) for path in path_fields]
        self._one_source = one_source

    def bind(self, captures: Sequence[str], query: bytes, body: bytes) -> Message:
        """Return the request message; raises `BindingError`, also where body and path give a field other values."""
        try:
            message = self._parse(body)
        except DecodeError:
            raise BindingError([Violation("", f"the body is no {self._name} in protobuf's binary form")]) from None
        bound = self._binder.bind(captures, query, None) if captures or query else None
        if bound is not None:
            if self._one_source:
                self._check(message, bound)
            message.MergeFrom(bound)
        if not message.IsInitialized():
            missing = message.FindInitializationErrors()  # type: ignore[attr-defined]  # not in the stubs
            raise BindingError([Violation(path, "the field is required") for path in missing])
        return message

    def _check(self, message: Message, bound: Message) -> None:
        differing = [
            Violation(path, "the body gives the field another value than the path; leave it out, or make them agree")
            for path, names in self._paths
            if (given := _value(message, names)) and given != _value(bound, names)
        ]
        if differing:
            raise BindingError(differing)


def _value(message: Any, names: Sequence[str]) -> Any:
    for name in names:
        message = getattr(message, name)
    return message
