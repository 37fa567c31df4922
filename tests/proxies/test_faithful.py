"""A proxy has the special methods of what it wraps, and no other."""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import weakref
from collections.abc import Iterator, Sized
from typing import Any
from unittest import mock

import pytest
from inside import Mode, Stream, StreamCall, aio_calls, emptied, sync_calls
from support.comparison import AioWorld, World, no_collector, same_as_plain
from support.services import AioService, handled
from support.staging import path, within


class Rich:
    """An iterator that can do more than iterate, as one of a user's can."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.items = [b"0", b"1"]

    def __next__(self) -> bytes:
        return self.items.pop(0)

    def next(self) -> bytes:
        return self.__next__()

    def __len__(self) -> int:
        return len(self.items)

    def __enter__(self) -> Rich:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iadd__(self, item: bytes) -> Rich:
        self.items.append(item)
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rich) and self.items == other.items

    def cancel(self) -> str:
        return "cancelled"


def guard(plain: Any) -> Any:
    return sync_calls.responses_of(plain, Stream("/test/Faithful", "client", "sync", Mode.RAISE))


def test_special_methods_of_the_wrapped_object() -> None:
    """What the wrapped object has is there, guarded where it returns itself; the rest is not."""
    plain = Rich()
    guarded = guard(plain)
    before = guarded
    with guarded as entered:
        assert entered is guarded
    guarded += b"2"
    assert guarded is before
    assert (len(guarded), isinstance(guarded, Sized)) == (3, True)
    assert not hasattr(guarded, "__iter__")
    with pytest.raises(TypeError, match="'Rich' object is not iterable"):
        iter(guarded)
    with pytest.raises(TypeError, match="unhashable type: 'Rich'"):
        hash(guarded)
    refusals = []
    for thing in (plain, guarded):
        with pytest.raises(TypeError, match="'Rich'") as refusal:
            b"2" in thing  # noqa: B015
        refusals.append(str(refusal.value))
    assert refusals[0] == refusals[1]
    assert guarded == plain
    assert guarded == guard(plain)
    assert guarded != guard(Rich())


class UsedError(Exception):
    """A special method was called."""


def used(*_: object) -> Any:
    raise UsedError


@pytest.mark.parametrize("name", emptied._USES)
def test_what_asks_for_a_special_method(name: str) -> None:
    """What says why a special method is not there calls that one where it is."""
    space = {"__enter__": lambda self: None, "__exit__": used, name: used}
    with pytest.raises(UsedError):
        emptied._USES[name](type("Able", (), space)())


def test_one_class_for_each_type() -> None:
    """Proxies of one kind around objects of one type share their class, which dies with the type."""

    class Other(Rich):
        pass

    assert type(guard(Rich())) is type(guard(Rich()))
    assert type(guard(Other())) is not type(guard(Rich()))
    assert type(guard(Other())).__name__ == "Other"
    gone = weakref.ref(type(guard(Other())))
    del Other
    gc.collect()  # the type …
    gc.collect()  # … and then the class that stood for it
    assert gone() is None


def test_making_another_by_the_class() -> None:
    """type(guarded)() makes what type(plain)() makes."""
    assert type(type(guard(Rich()))()) is Rich


def test_replacing_a_method_of_one_object() -> None:
    """What mock.patch.object puts on a guarded object is what is called, until it goes."""
    guarded, other = guard(Rich()), guard(Rich())
    kind = type(guarded)
    with mock.patch.object(guarded, "cancel", return_value="mocked"):
        assert (guarded.cancel(), other.cancel()) == ("mocked", "cancelled")
    with mock.patch.object(guarded, "next", return_value=b"mocked"):
        assert (guarded.next(), other.next()) == (b"mocked", b"0")
    assert (guarded.cancel(), guarded.next()) == ("cancelled", b"0")
    assert type(guarded) is kind
    guarded.next, guarded.cancel = (lambda: b"one"), (lambda: "two")
    del guarded.next  # not the last one that came
    assert guarded.cancel() == "two"
    assert guarded.__wrapped__.cancel() == "two"


def test_replacing_methods_of_one_object_in_any_order() -> None:
    """Once all are the object's own again, it is guarded as before, by the same class."""
    guarded = guard(Rich())
    kind = type(guarded)
    patches = [mock.patch.object(guarded, name) for name in ("next", "cancel", "next")]
    for patch in patches:
        patch.start()
    assert isinstance(guarded.next, mock.MagicMock)
    assert isinstance(guarded.cancel, mock.MagicMock)
    replaced = type(guarded)
    for patch in (patches[2], patches[1], patches[0]):
        patch.stop()
    assert type(guarded) is kind
    for name in ("cancel", "next"):
        setattr(guarded, name, mock.Mock())
    assert type(guarded) is replaced  # no further class for the same
    del guarded.cancel
    assert guarded.cancel() == "cancelled"
    assert isinstance(guarded.next, mock.Mock)
    del guarded.next
    assert type(guarded) is kind


def test_an_attribute_of_one_object_that_its_class_has() -> None:
    """A count that begins as an attribute of the class: each time it grows, no class is made."""

    class Counting(Rich):
        seen = 0

    guarded: Any = guard(Counting())
    kind = type(guarded)
    for _ in range(3):
        guarded.seen += 1
    assert (guarded.seen, guarded.__wrapped__.seen, Counting.seen) == (3, 3, 0)
    assert type(guarded) is kind
    del guarded.seen
    assert guarded.seen == 0


def test_special_methods_that_are_descriptors() -> None:
    """A MagicMock has them as objects of a kind of its own, which make the method when they are asked."""
    plain = mock.MagicMock()
    plain.__next__.side_effect = [b"a"]
    plain.__iter__.return_value = iter([b"x"])
    guarded = guard(plain)
    assert next(guarded) == b"a"
    assert list(guarded) == [b"x"]
    assert (int(guarded), len(guarded), bool(guarded), 7 in guarded) == (1, 0, True, False)
    assert guarded[0] is plain[0]
    with guarded as entered:
        assert entered is plain.__enter__.return_value
    assert guarded + 1 is plain + 1


def test_an_attribute_with_a_name_like_those_of_the_guard() -> None:
    """It goes where it came: it is the proxy's own, and the wrapped object has none of it."""
    guarded = guard(Rich())
    guarded._self_mine = 1
    assert not hasattr(guarded.__wrapped__, "_self_mine")
    del guarded._self_mine
    assert not hasattr(guarded, "_self_mine")


class Handing(Rich):
    """An object whose iterator is another one."""

    def __init__(self, iterator: Any) -> None:
        super().__init__()
        self.iterator = iterator

    def __iter__(self) -> Any:
        return self.iterator


def test_iterating_over_what_hands_on_an_iterator() -> None:
    """That is guarded as well, in the same direction of the stream; once, if it is already."""
    inner = guard(Rich())
    assert iter(guard(Handing(inner))) is inner
    outer = guard(Handing(iter([b"a", b"b"])))
    iterator = iter(outer)
    assert type(iterator).__name__ == "list_iterator"
    assert iterator._self_stream is outer._self_stream
    assert list(iterator) == [b"a", b"b"]
    assert next(outer) == b"0"


def test_an_attribute_of_one_object() -> None:
    """What the program notes on an object is of that object, and changes no class."""
    plain = Rich()
    guarded = guard(plain)
    kind = type(guarded)
    guarded.note = "mine"
    assert plain.note == guarded.note == "mine"  # type: ignore[attr-defined]
    assert type(guarded) is kind
    assert not hasattr(kind, "note")


def test_replacing_a_method_of_a_class() -> None:
    """What is put on the class of a guarded object is called on all of its kind."""
    guarded = guard(Rich())
    assert type(guarded).cancel is Rich.cancel
    with mock.patch.object(type(guarded), "cancel", autospec=True) as cancel:
        guarded.cancel()
    cancel.assert_called_once_with(guarded)
    assert guarded.cancel() == "cancelled"


def test_looking_up_a_method_on_a_kind_of_proxies() -> None:
    """On a class of ours, which stands for no type yet, it is what hands the method on."""
    assert StreamCall.cancel.name == "cancel"  # type: ignore[attr-defined]


def test_copying_a_proxy_of_a_proxy() -> None:
    """A proxy around a proxy is as transparent."""
    twice = guard(guard(Rich()))
    assert isinstance(twice, Rich)
    assert len(twice) == 2
    assert type(copy.copy(twice)) is Rich


def test_state_of_a_proxy() -> None:
    """A proxy's own state is set on it; all else on what it wraps."""
    guarded = guard(Rich())
    stream = Stream("/test/Other", "client", "sync", Mode.RAISE)
    guarded._self_stream = stream
    guarded.extra = 1
    assert guarded._self_stream is stream
    assert vars(guarded) is vars(guarded.__wrapped__)
    assert "_self_stream" not in vars(guarded)


# What programs do with streams


@same_as_plain
def test_tee_in_a_handler(world: World) -> Iterator[Any]:
    """A handler that looks at its requests twice gets each of them twice."""

    def both(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        first, second = itertools.tee(requests)
        yield b"%d" % sum(1 for _ in first)
        yield from second

    yield handled(world, "stream_stream", both)


@same_as_plain
async def test_lives_of_drained_calls(world: AioWorld) -> Any:
    """A call that was drained by `async for` and dropped is freed at once."""
    channel = await world.channel(AioService().methods())
    numbers, echo = channel.unary_stream(path("Numbers")), channel.stream_stream(path("Echo"))
    with no_collector():
        for start in (lambda: numbers(b"2"), lambda: echo([b"a", b"b"])):
            call = start()
            plain = getattr(call, "__wrapped__", call)
            life = weakref.ref(plain)
            yield [message async for message in call], call.done()
            yield call.__aiter__() is call.__aiter__()
            sender = getattr(plain, "_async_request_poller", None)
            if sender is not None:  # it has the call, and may have one more step to take
                await within(asyncio.wait([sender]))
            del call, plain, sender
            yield life() is None


async def test_messages_keep_their_call() -> None:
    """Iterating over a guarded call keeps it alive for code that holds it weakly."""

    class Plain:
        def __aiter__(self) -> Any:
            return self

        async def read(self) -> bytes:
            return b""

        async def __anext__(self) -> bytes:
            return b"0"

        def done(self) -> bool:
            return False

    stream = Stream("/test/Keep", "client", "aio", Mode.RAISE, asyncio.get_running_loop())
    call: Any = aio_calls.ReadingCall(Plain(), stream)
    messages, life = aiter(call), weakref.ref(call)
    del call
    assert life() is not None
    assert await anext(messages) == b"0"
    del messages
    assert life() is None
