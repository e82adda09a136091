"""Server streams: messages go out as they come, one at a time, so that a slow reader slows the backend down."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc

from edge.transcoding.call import Caller, ReplyEncoder, ReplyHead, Request, not_acceptable
from edge.transcoding.errors import Code, RpcFailure, failure
from edge.transcoding.exchange import ClientGoneError, Exchange, ResponseCutError
from edge.transcoding.framing import ArrayFrames, EnvelopeFrames, Frames, FramesFactory, NdjsonFrames, SseFrames
from edge.transcoding.headers import Header
from edge.transcoding.media import NO_WISHES, JsonWishes, MediaCache, json_wishes, stream_framing
from edge.transcoding.options import Framing, MethodOptions
from edge.transcoding.outlet import Outlet
from edge.transcoding.profile import Profile


class Pulse:
    """Watches the silences of one stream: sends heartbeats in them, and cancels a call that is silent for too long.

    One timer serves a whole stream; a message costs it one reading of the clock.
    """

    __slots__ = ("_beat", "_call", "_idle", "_last", "_loop", "_period", "_task", "_timer", "timed_out")

    def __init__(
        self, call: Any, *, idle_timeout: float, heartbeat: float, beat: Callable[[], Any] | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._call = call
        self._beat = beat
        self._idle = idle_timeout
        self._period = min(heartbeat, idle_timeout) if beat is not None else idle_timeout
        self._last = self._loop.time()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(self._period, self._check, self._last)
        self.timed_out = False

    def felt(self) -> None:
        """Take note of a message."""
        self._last = self._loop.time()

    @property
    def beating(self) -> bool:
        """Whether a heartbeat is on its way."""
        return self._task is not None and not self._task.done()

    async def settle(self) -> None:
        """Return when no heartbeat is on its way, so that nothing overtakes it."""
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        """End the watching; returns when no heartbeat is on its way any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.settle()

    def _check(self, since: float) -> None:
        now = self._loop.time()
        silence = now - self._last
        if silence >= self._idle:
            self._timer = None
            self.timed_out = True
            self._call.cancel()
            return
        wait = self._period
        if self._last > since:
            # Something came since the last look: the silence to watch began with it.
            wait = self._period - silence
        elif self._beat is not None and not self.beating:
            self._task = self._loop.create_task(self._beat())
        self._timer = self._loop.call_later(max(wait, 0.001), self._check, self._last)


class StreamCall:
    """One call with what watches it; `messages` yields its serialised messages."""

    def __init__(
        self,
        caller: Caller,
        exchange: Exchange,
        request: Request,
        *,
        idle_timeout: float,
        heartbeat: float = 0.0,
        beat: Callable[[], Any] | None = None,
    ) -> None:
        self._caller = caller
        self._exchange = exchange
        self._idle_timeout = idle_timeout
        self.ended = False
        """Whether all messages were read, or the backend said why there are no more."""
        caller.streams.take()
        self.messages = caller.start(exchange, request)
        self.pulse = Pulse(self.messages, idle_timeout=idle_timeout, heartbeat=heartbeat, beat=beat)

    def failure(self, error: grpc.aio.AioRpcError | asyncio.CancelledError) -> RpcFailure:
        """Return what ended the call early; raises `ClientGoneError`, or the cancellation if it is not the call's."""
        if isinstance(error, grpc.aio.AioRpcError):
            self.ended = True
            return self._caller.failure(error, self._exchange)
        cause = self._caller.cause_of_cancellation(self._exchange)
        if isinstance(cause, ClientGoneError):
            raise cause from None
        if cause is not None:
            return cause
        if self.pulse.timed_out:
            return failure(Code.DEADLINE_EXCEEDED, f"the stream sent nothing for {self._idle_timeout:g} seconds")
        raise error

    async def head(self) -> ReplyHead:
        """Return what the call's initial metadata say."""
        return await self._caller.head_of(self.messages)

    async def trailers(self) -> Sequence[Header]:
        """Return the call's trailers where the client wants any; a call that still runs has none."""
        if not self._exchange.wants_trailers or not self.ended:
            return ()
        return await self._caller.trailers_of(self.messages)

    async def close(self) -> None:
        """Cancel the call where it still runs, and end the watching."""
        self._caller.streams.give()
        self._exchange.unwatch()
        self.messages.cancel()
        await self.pulse.stop()


class StreamResponder:
    """Answers with the messages of a server stream as JSON, framed as the method or the request says."""

    def __init__(
        self, caller: Caller, encode: ReplyEncoder, options: MethodOptions, profile: Profile, *, heartbeat: float
    ) -> None:
        self._caller = caller
        self._encode = encode
        self._status = options.success_code
        self._idle_timeout = options.idle_timeout
        self._heartbeat = heartbeat
        self._negotiated: dict[Framing, FramesFactory] = {
            framing: _factory(framing, options, chosen_by_accept=True) for framing in Framing
        }
        self._fixed: FramesFactory | None = None
        if profile.stream_envelope:
            self._fixed = EnvelopeFrames
        elif options.framing is not None:
            self._fixed = _factory(options.framing, options, chosen_by_accept=False)
        self._check_accept = profile.check_media_types
        self._framing = MediaCache(stream_framing)
        self._wishes = MediaCache(json_wishes)

    async def respond(self, exchange: Exchange, request: Request) -> None:
        """See `call.Responder`."""
        frames, wishes = self._frames(exchange.head.accept)

        async def beat() -> None:
            # The first heartbeat also begins the response: a client should not wait for its headers that long.
            if not exchange.started:
                await exchange.start(self._status, frames.headers)
            await exchange.write(frames.heartbeat)

        call = StreamCall(
            self._caller,
            exchange,
            request,
            idle_timeout=self._idle_timeout,
            heartbeat=self._heartbeat,
            beat=beat if frames.heartbeat and not exchange.is_head else None,
        )
        outlet = Outlet(exchange)
        try:
            failed = await self._pump(exchange, call, frames, wishes, outlet)
            await call.pulse.stop()
            await outlet.drain()
            if failed is not None:
                await self._tell(failed, exchange, call, frames)
                return
            if not exchange.started:
                await self._start(exchange, call, frames)
            if exchange.is_head:
                await exchange.end()
            else:
                await exchange.end(frames.end(), await call.trailers())
        finally:
            outlet.abandon()
            await call.close()

    async def _pump(
        self, exchange: Exchange, call: StreamCall, frames: Frames, wishes: JsonWishes, outlet: Outlet
    ) -> RpcFailure | None:
        encode, pulse = self._encode, call.pulse
        try:
            async for message in call.messages:
                pulse.felt()
                data = frames.message(encode(message, wishes))
                if pulse.beating:
                    await pulse.settle()
                if not exchange.started:
                    await self._start(exchange, call, frames)
                    if exchange.is_head:
                        break
                await outlet.put(data)
            else:
                call.ended = True
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            return call.failure(error)
        except RpcFailure as error:
            return error
        return None

    @staticmethod
    async def _tell(failed: RpcFailure, exchange: Exchange, call: StreamCall, frames: Frames) -> None:
        if not exchange.started:
            raise failed
        record = frames.error(failed, exchange.style, exchange.request_id)
        if record is None:
            raise ResponseCutError from failed
        await exchange.end(record, await call.trailers())

    async def _start(self, exchange: Exchange, call: StreamCall, frames: Frames) -> None:
        head = await call.head()
        await exchange.start(self._status if head.status is None else head.status, [*frames.headers, *head.headers])

    def _frames(self, accept: bytes | None) -> tuple[Frames, JsonWishes]:
        if self._fixed is not None:
            return self._fixed(), self._wishes(accept) if accept is not None and self._check_accept else NO_WISHES
        if accept is None or not self._check_accept:
            return NdjsonFrames(), NO_WISHES
        chosen = self._framing(accept)
        if chosen is None:
            raise not_acceptable([framing.value for framing in Framing])
        return self._negotiated[chosen[0]](), chosen[1]


def _factory(framing: Framing, options: MethodOptions, *, chosen_by_accept: bool) -> FramesFactory:
    if framing is Framing.NDJSON:
        return NdjsonFrames
    if framing is Framing.JSON_ARRAY:
        return ArrayFrames
    ids = chosen_by_accept if options.event_ids is None else options.event_ids
    return partial(SseFrames, ids=ids, end_marker=options.end_marker)
