"""guarded(): a block, or a function of any kind, during which the guard is on."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import grpc
import pytest
from inside import current_mode, ledger, thresholds
from support.enabling import METHODS, Chat, is_guarded, restored
from support.staging import Gate, in_thread, inside_grpc, path, sync_channel, sync_server, wait

from grpc_guard import ConcurrencyError, disable, enable, guarded, is_enabled, wrap

__all__ = ["restored"]


def _function() -> str:
    return current_mode().value


async def _coroutine() -> str:
    return current_mode().value


def _generator() -> Iterator[str]:
    yield current_mode().value


async def _async_generator() -> AsyncIterator[str]:
    yield current_mode().value


def _outcome(function: Callable[[], Any]) -> str:
    async def only(result: AsyncIterator[str]) -> str:
        (item,) = [item async for item in result]
        return item

    result = function()
    if inspect.isasyncgen(result):
        result = only(result)
    if inspect.iscoroutine(result):
        return str(asyncio.run(result))
    return str(result if isinstance(result, str) else next(iter(list(result))))


@pytest.mark.parametrize("function", [_function, _coroutine, _generator, _async_generator])
def test_a_decorated_function(function: Any) -> None:
    """The guard is on while the function runs, whose kind and name stay the same."""
    decorated = guarded("serialize")(function)
    for kind in ("iscoroutinefunction", "isgeneratorfunction", "isasyncgenfunction"):
        assert getattr(inspect, kind)(decorated) is getattr(inspect, kind)(function)
    assert decorated.__name__ == function.__name__
    assert not is_enabled()
    assert (_outcome(decorated), current_mode()) == ("serialize", "off")


def test_a_decorated_generator() -> None:
    """A decorated generator takes what is sent and thrown, ends when closed, and returns."""
    seen: list[Any] = []

    @guarded()
    def numbers() -> Any:
        try:
            seen.append((yield 1))
            yield 2
        except KeyError as error:
            seen.append(error)
            return "end"
        finally:
            seen.append(is_enabled())

    generator, error = numbers(), KeyError()
    assert [next(generator), generator.send("a")] == [1, 2]
    with pytest.raises(StopIteration, match="end"):
        generator.throw(error)
    assert (seen, is_enabled()) == (["a", error, True], False)
    with closing(numbers()) as generator:
        assert next(generator) == 1
    assert (seen[3:], is_enabled()) == ([True], False)


async def test_a_decorated_async_generator() -> None:
    """A decorated async generator takes what is sent and thrown, and ends when closed."""
    seen: list[Any] = []

    @guarded()
    async def numbers() -> AsyncIterator[int]:
        try:
            seen.append((yield 1))
            yield 2
        except KeyError as error:
            seen.append(error)
            yield 3
        finally:
            seen.append(is_enabled())

    generator: Any = numbers()
    assert [await anext(generator), await generator.asend("a")] == [1, 2]
    error = KeyError()
    assert await generator.athrow(error) == 3
    with pytest.raises(StopAsyncIteration):
        await anext(generator)
    assert (seen, is_enabled()) == (["a", error, True], False)
    generator = numbers()
    assert await anext(generator) == 1
    await generator.aclose()
    assert (seen[3:], is_enabled()) == ([True], False)


def test_nested_blocks() -> None:
    """The block entered last decides, and each restores what was before, exceptions or not."""
    modes = []
    enable("warn")
    with guarded():
        modes.append(current_mode())
        with suppress(KeyError), guarded("off"):
            modes.append(current_mode())
            enable("serialize")  # for after the blocks
            raise KeyError
        modes.append(current_mode())
    assert [*modes, current_mode()] == ["raise", "off", "raise", "serialize"]


def test_a_block_entered_twice() -> None:
    """One and the same guarded() object can be entered again, inside itself too."""
    again = guarded("warn")
    with again, again:
        assert current_mode() == "warn"
    assert not is_enabled()
    with again:
        assert is_enabled()
    assert not is_enabled()


def test_a_block_entered_again_inside_another() -> None:
    """The end of the inner run of one guarded() object leaves the block around it in charge."""
    again = guarded("warn", thresholds={"kept": 3})
    with again, guarded("serialize", thresholds={"kept": 4}):
        with again:
            assert (current_mode(), thresholds().kept) == ("warn", 3)
        assert (current_mode(), thresholds().kept) == ("serialize", 4)


def test_overlapping_blocks_of_two_threads() -> None:
    """The guard stays on until both have left; the last one to enter decides."""
    modes = []

    def block(mode: str, gate: Gate) -> None:
        with guarded(mode):
            gate.park()

    first_gate, second_gate = Gate(), Gate()
    first = in_thread(block, "warn", first_gate, name="first")
    with first_gate.held():
        modes.append(current_mode())
        second = in_thread(block, "serialize", second_gate, name="second")
        second_gate.wait()
        modes.append(current_mode())
    first.result()
    modes.append(current_mode())
    second_gate.open()
    second.result()
    assert [*modes, current_mode()] == ["warn", "serialize", "serialize", "off"]


# wrap() beside enable()


@pytest.fixture
def recorded() -> Iterator[threading.Event]:
    """Yield an event that is set when something is found."""
    event = threading.Event()

    def set_it(_: object) -> None:
        event.set()

    ledger.add_sink(set_it)
    yield event
    ledger.remove_sink(set_it)


@pytest.mark.parametrize(
    ("by_hand", "everywhere"), [("serialize", "raise"), ("raise", "serialize"), (None, "serialize")]
)
def test_a_channel_wrapped_by_hand(
    by_hand: str | None, everywhere: str, recorded: threading.Event, found: Any
) -> None:
    """A channel wrapped by hand keeps its own mode, by default the one that was enabled."""
    enable(everywhere)
    with (
        sync_server(METHODS, mode=None) as address,
        sync_channel(address, mode=None) as channel,
    ):
        chat = Chat(wrap(channel, mode=by_hand).stream_stream(path("Echo")))
        first = inside_grpc(next, chat.call, name="first")
        second = in_thread(next, chat.call, name="second")
        wait(recorded)
        chat.say(b"a")
        assert first.result() == b"a"
        if by_hand == "raise":
            assert isinstance(second.exception(), ConcurrencyError)
        else:
            chat.say(b"b")
            assert second.result() == b"b"
    assert [finding.caller.name for finding in found()] == ["second"]


def test_a_channel_wrapped_by_hand_without_a_mode_stays_guarded() -> None:
    """What wrap() took from enable() it keeps after disable()."""
    enable("serialize")
    with (
        sync_server(METHODS, mode=None) as address,
        sync_channel(address, mode=None) as channel,
    ):
        by_hand = wrap(channel)
        disable()
        assert is_guarded(Chat(by_hand.stream_stream(path("Echo"))).call)
        assert not is_guarded(Chat(channel.stream_stream(path("Echo"))).call)


def _mode(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield context._self_stream.mode.encode() if is_guarded(context) else b"plain"


@pytest.mark.parametrize("wrapped", ["first", "last"])
@pytest.mark.parametrize("how", ["generic", "registered"])
def test_a_server_wrapped_by_hand(how: str, wrapped: str) -> None:
    """A server wrapped by hand keeps its own mode, whether enable() comes before or after."""
    methods = {"Mode": grpc.stream_stream_rpc_method_handler(_mode)}
    seen = []
    for is_on_before in (True, False):
        if is_on_before:
            enable("raise")
        with (
            sync_server(methods, mode="warn", how=how, wrapped=wrapped) as address,
            sync_channel(address, mode=None) as channel,
        ):
            for switch in (enable, disable):
                switch()
                seen += list(channel.stream_stream(path("Mode"))(iter([])))
    assert seen == [b"warn"] * 4
