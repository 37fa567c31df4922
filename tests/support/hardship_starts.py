"""What the compiled core does at the start of a stream, its errors included: see hardship.py."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from inside import (
    Handlers,
    Mode,
    Stream,
    always,
    lifecycle_channels,
    starts,
    sync_calls,
    sync_channel,
    sync_handlers,
)

Act = Callable[[], object]


class Call:
    """What the plain method of a multi-callable returns."""

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        raise StopIteration

    def is_active(self) -> bool:
        return True


class Plain:
    """A plain multi-callable on a channel that is known."""

    def __init__(self) -> None:
        self._channel = Call()
        # No more than one stream stays, and the channel is never full.
        self.life = SimpleNamespace(generation=0, streams=deque(maxlen=1), next_report_at=9)
        lifecycle_channels.lives_by_core[id(self._channel)] = self.life

    def __call__(self, request: Any = None, *args: Any, error: Any = None) -> Call:
        if error is not None:
            raise error
        return Call()


class Inner:
    """The state of a context, with attributes of its own."""

    def __init__(self, callbacks: list[Any] | None) -> None:
        self.callbacks = callbacks


class Context:
    """The context of a handler."""

    def is_active(self) -> bool:
        return False


def numbers() -> Iterator[int]:
    yield 1


def start_acts(core: Any, refused: Callable[..., None], followed_context: Any) -> dict[str, Act]:
    """Return, by name, what `core` is asked for where streams start and are handled."""
    plain = Plain()
    reading = sync_channel.UnaryStream(plain, "/a/b", always(Mode.RAISE))
    writing = sync_channel.StreamStream(plain, "/a/b", always(Mode.RAISE))
    off = sync_channel.UnaryStream(plain, "/a/b", always(Mode.OFF))

    def fails(error: BaseException) -> None:
        raise error

    core.tell(
        {
            "usual_call": Call,
            "start_failed": fails,
            "failed_to_start": lambda *_: None,
            "note_origin": starts.note_origin,
        }
    )

    def started() -> None:
        assert type(reading(b"1")) in sync_calls.StreamCall._self_twins.values()
        assert iter(writing(iter([1]))).__next__.__self__

    def started_with_generators() -> None:
        one = numbers()
        call = writing(one, *range(12))
        assert weakref.getweakrefs(one)
        refused(lambda: next(call), StopIteration)

    loud = {"failed_to_start": lambda *_: 1 / 0}
    quiet = {"failed_to_start": lambda *_: None}  # made before memory lacks

    def refused_starts() -> None:
        for multi_callable in (reading, writing):
            refused(lambda one=multi_callable: one(iter([]), error=KeyError()), KeyError)  # type: ignore[misc]
            refused(lambda one=multi_callable: one(iter([]), nonsense=1), TypeError)  # type: ignore[misc]
        refused(lambda: type(reading).__call__(Call()), AttributeError)
        core.tell(loud)
        try:
            refused(lambda: reading(error=KeyError()), ArithmeticError)
        finally:
            core.tell(quiet)

    def over() -> None:
        one = Stream("/a/b", "client", "sync", Mode.RAISE)  # type: ignore[arg-type]
        assert not one.is_over()
        one.track_context(plain, lambda _: True)
        assert one.is_over()
        one.track_call(plain, lambda _: False)
        assert not one.is_over()
        one.track_call(Call(), lambda _: False)
        assert one.is_over()
        refused(Stream.__new__(Stream).is_over, AttributeError)
        del one.ended
        refused(one.is_over, AttributeError)

    class Records(Handlers):
        def _watch(self) -> None: ...

        def _rpc_ended(self, entry: Any) -> None: ...

    records, context = Records(None), Context()

    def handling(respond: Any, shape: tuple[bool, bool]) -> Any:
        return sync_handlers.guard_behavior(
            respond, "/a/b", always(Mode.RAISE), *shape, handlers=records
        )

    class Servicer:
        def respond(self, request: Any, context: Any) -> Any:
            return iter(request)

    behaviors = [
        handling(lambda request, context: numbers(), (False, True)),
        handling(lambda request, context: iter(request), (True, True)),
        handling(Servicer().respond, (True, True)),
        handling(lambda request, context: 1, (True, False)),
        handling(lambda request, context: 1, (False, False)),
    ]
    failing = [handling(lambda request, context: 1 / 0, shape) for shape in SHAPES]

    def handled() -> None:
        for behavior in behaviors:
            result = behavior(iter([1]), context)
            assert result == 1 or next(result) == 1

    def handled_with_errors() -> None:
        for behavior in failing:
            refused(lambda one=behavior: one(iter([1]), context), ArithmeticError)  # type: ignore[misc]

    def answer(request: Any, context: Any) -> Any:
        return request

    def functions() -> None:
        answer.note = answer  # type: ignore[attr-defined]
        for one in (handling(answer, (False, False)), handling(fails, (False, False))):
            assert one.__class__ is type(answer)
            one.more = one
            vars(one).clear()
            one.__dict__ = {}
            one.__name__ = one.__qualname__ = "answer"
            assert repr(one).startswith("<function answer at")
            assert one.__reduce__() == "answer"
            assert one.__get__(7).__func__ is one
            refused(lambda one=one: one.missing, AttributeError)  # type: ignore[misc]

    def followed() -> None:
        one = handling(answer, (False, False))
        for state in (SimpleNamespace, Inner, Inner):
            for callbacks in ([], [fails], None):
                assert one(1, followed_context(state(callbacks=callbacks))) == 1
        failing = handling(lambda request, context: 1 / 0, (False, False))
        context = followed_context(SimpleNamespace(callbacks=[]))
        refused(lambda: failing(1, context), ArithmeticError)
        assert records._by_thread

    def origins() -> None:
        assert core.note_origin("x").operation == "x"

    def refusals() -> None:
        refused(lambda: core.tell(7), TypeError)
        refused(lambda: core.tell({7: 7}), TypeError)
        refused(lambda: core.tell({"kinds": 7}), TypeError)
        refused(lambda: core.tell({"nonsense": 7}), NameError)
        refused(lambda: core.Method(plain), TypeError)
        refused(lambda: core.Method(plain, "nonsense"), ValueError)
        refused(lambda: core.Handling(fails, plain, 2, *[plain] * 5, 1, 1, 1), ValueError)
        refused(lambda: core.Handling(*[plain] * 2, 0, *[plain] * 5, 1, 1, 1), TypeError)

    def methods() -> None:
        method = core.Method(handling, "itself")
        assert method.__name__ == "handling"
        assert repr(method) == repr(handling)
        assert method.__get__ is not None

    return {
        "starts of sync streams": started,
        "starts of sync streams with generators": started_with_generators,
        "start in mode off": lambda: off(b"1"),
        "refused starts": refused_starts,
        "whether a stream is over": over,
        "handlers": handled,
        "handlers that fail": handled_with_errors,
        "origins": origins,
        "what stands for functions": functions,
        "handlers whose RPC is followed": followed,
        "methods": methods,
        "refusals of what is told": refusals,
    }


SHAPES = [(False, True), (True, False), (False, False)]
