"""google-api-core: BidiRpc, its consumer thread, its asyncio twin, and wrapped streams."""

from __future__ import annotations

import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from support.comparing import (
    AIO_SERVICE,
    ROUNDS,
    SYNC_SERVICE,
    aio_connected,
    compare,
    compare_async,
    connected,
)
from support.staging import PATIENCE, path

bidi = pytest.importorskip("google.api_core.bidi")
bidi_async = pytest.importorskip("google.api_core.bidi_async")
exceptions = pytest.importorskip("google.api_core.exceptions")
grpc_helpers = pytest.importorskip("google.api_core.grpc_helpers")
grpc_helpers_async = pytest.importorskip("google.api_core.grpc_helpers_async")


def _echo_until_told(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    for request in requests:
        if request == b"fail":
            context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
        yield b"echo " + request


_METHODS = {"Echo": grpc.stream_stream_rpc_method_handler(_echo_until_told)}


def test_bidi() -> None:
    """A BidiRpc sends and receives in turns, and raises once it is closed."""

    def program() -> Any:
        with connected(_METHODS) as channel:
            rpc = bidi.BidiRpc(channel.stream_stream(path("Echo")), initial_request=b"hello")
            rpc.open()
            seen = [rpc.recv()]
            for number in range(ROUNDS):
                rpc.send(b"%d" % number)
                seen.append(rpc.recv())
            rpc.close()
            with pytest.raises(grpc.RpcError) as error:
                rpc.recv()
            return seen, error.value.code(), rpc.is_active

    seen, code, _ = compare(program)
    assert seen[:2] == [b"echo hello", b"echo 0"]
    assert code is grpc.StatusCode.CANCELLED


def test_a_bidi_that_resumes() -> None:
    """A ResumableBidiRpc opens a new stream when the server ends the old one."""

    def program() -> Any:
        with connected(_METHODS) as channel:
            rpc = bidi.ResumableBidiRpc(
                channel.stream_stream(path("Echo")),
                should_recover=lambda error: error.code() is grpc.StatusCode.UNAVAILABLE,
                initial_request=b"hello",
            )
            rpc.open()
            seen = [rpc.recv()]
            for request in (b"a", b"fail", b"b"):
                rpc.send(request)
                seen.append(rpc.recv())
            rpc.close()
            return seen

    assert compare(program)[:3] == [b"echo hello", b"echo a", b"echo hello"]


@pytest.mark.parametrize("resumable", [False, True], ids=["plain", "resumable"])
def test_a_background_consumer(resumable: bool) -> None:
    """A consumer thread reads while the program sends, pauses it, and lets it go on."""

    def program() -> Any:
        with connected(_METHODS) as channel:
            start = channel.stream_stream(path("Echo"))
            rpc = (
                bidi.ResumableBidiRpc(start, lambda error: False, initial_request=b"hello")
                if resumable
                else bidi.BidiRpc(start, initial_request=b"hello")
            )
            inbox = queue.Queue[bytes]()
            consumer = bidi.BackgroundConsumer(rpc, inbox.put)
            rpc.add_done_callback(lambda _: inbox.put(b"done"))
            consumer.start()
            seen = [inbox.get(timeout=PATIENCE)]  # it is open now
            for number in range(ROUNDS):
                rpc.send(b"%d" % number)
            seen += [inbox.get(timeout=PATIENCE) for _ in range(ROUNDS)]
            consumer.pause()
            rpc.send(b"paused")
            consumer.resume()
            seen.append(inbox.get(timeout=PATIENCE))
            rpc.send(b"fail")
            seen.append(inbox.get(timeout=PATIENCE))
            consumer.stop()
            return seen, consumer.is_active

    seen, _ = compare(program)
    assert seen[-2:] == [b"echo paused", b"done"]


def test_a_send_on_a_stream_that_ended() -> None:
    """send() on a stream that the server ended calls next() to raise its error."""

    def program() -> Any:
        with connected(_METHODS) as channel:
            rpc = bidi.BidiRpc(channel.stream_stream(path("Echo")), initial_request=b"fail")
            ended = queue.Queue[Any]()
            rpc.add_done_callback(ended.put)
            rpc.open()
            ended.get(timeout=PATIENCE)
            codes = []
            for use in (lambda: rpc.send(b"a"), rpc.recv):
                with pytest.raises(grpc.RpcError) as error:
                    use()
                codes.append(error.value.code())
            return codes

    assert compare(program) == [grpc.StatusCode.UNAVAILABLE] * 2


def test_an_aio_bidi() -> None:
    """An AsyncBidiRpc sends and receives in turns, and is inactive once it is closed."""

    async def program() -> Any:
        async with aio_connected(AIO_SERVICE) as channel:
            start = grpc_helpers_async.wrap_errors(channel.stream_stream(path("Echo")))
            rpc = bidi_async.AsyncBidiRpc(start, initial_request=b"hello")
            await rpc.open()
            seen = [await rpc.recv()]
            for number in range(ROUNDS):
                await rpc.send(b"%d" % number)
                seen.append(await rpc.recv())
            await rpc.close()
            return seen, rpc.is_active

    seen, _ = compare_async(program)
    assert seen[:2] == [b"echo hello", b"echo 0"]


def test_wrapped_streams() -> None:
    """grpc_helpers looks at the first response of a stream, and maps its errors."""

    def program() -> Any:
        with connected(SYNC_SERVICE) as channel:
            wrap_errors = grpc_helpers.wrap_errors
            count = wrap_errors(channel.unary_stream(path("Count")))
            counting = count(b"3")
            seen: list[Any] = [list(counting), counting.code(), counting.is_active()]
            echo = wrap_errors(channel.stream_stream(path("Echo")))
            seen.append(list(echo(iter([b"a", b"b"]))))
            join = wrap_errors(channel.stream_unary(path("Join")))
            seen.append(join(iter([b"a", b"b"])))
            failing = wrap_errors(channel.unary_stream(path("Fail")))(b"")
            seen.append(next(failing))
            with pytest.raises(exceptions.DataLoss) as error:
                next(failing)
            waiting = wrap_errors(channel.unary_stream(path("Wait")))(b"")
            return [*seen, error.value.message, next(waiting), waiting.cancel()]

    seen = compare(program)
    assert seen[0] == [b"0", b"1", b"2"]
    assert seen[5] == b"one"


def test_wrapped_aio_streams() -> None:
    """grpc_helpers_async wraps calls of all shapes, and maps their errors."""

    async def requests() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def program() -> Any:
        async with aio_connected(AIO_SERVICE) as channel:
            wrap_errors = grpc_helpers_async.wrap_errors
            counting = await wrap_errors(channel.unary_stream(path("Count")))(b"3")
            seen: list[Any] = [[message async for message in counting], await counting.code()]
            reading = await wrap_errors(channel.unary_stream(path("Count")))(b"1")
            seen += [await reading.read(), await reading.read() is grpc.aio.EOF]
            echoing = await wrap_errors(channel.stream_stream(path("Echo")))()
            await echoing.write(b"a")
            seen.append(await echoing.read())
            await echoing.done_writing()
            joining = await wrap_errors(channel.stream_unary(path("Join")))(requests())
            seen.append(await joining)
            failing = await wrap_errors(channel.unary_stream(path("Fail")))(b"")
            messages = aiter(failing)
            seen.append(await anext(messages))
            with pytest.raises(exceptions.DataLoss) as error:
                await anext(messages)
            return [*seen, error.value.message]

    seen = compare_async(program)
    assert seen[0] == [b"0", b"1", b"2"]
    assert seen[-2] == b"one"
