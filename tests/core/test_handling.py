"""Handler functions of the sync api in C beside those in Python: what they pass for, and what they note."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import pickle
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from inside import Handlers, Mode, always, core_entries, core_which, proxies_servers, sync_handlers
from support.staging import PATIENCE, in_thread, outcome

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)

CORES = {"c": compiled, "py": None}


class ContextState:
    """Where grpcio has what is called, in attributes of an ordinary object."""

    def __init__(self, callbacks: list[Any] | None) -> None:
        self.callbacks = callbacks


class Context:
    """A context of a sync server, whose RPC calls `callbacks` at its end."""

    def __init__(self, callbacks: list[Any] | None) -> None:
        self._state = ContextState(callbacks)


class Seen(Handlers):
    """Records that log which RPC has ended while its handler runs."""

    def __init__(self) -> None:
        super().__init__(None)
        self.log: list[Any] = []

    def _rpc_ended(self, entry: Any) -> None:
        self.log.append((entry.rpc, entry.ended, entry.is_over(), type(entry.since)))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Context be the usual class of contexts."""
    monkeypatch.setattr(core_entries, "SERVER_CONTEXT", Context)


def guarded(
    core: str, plain: Any, handlers: Handlers, choose: Any = None, responds: bool = False
) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_handlers, "_compiled", CORES[core])
        return sync_handlers.guard_behavior(
            plain, "/a/b", choose or always(Mode.RAISE), False, responds, handlers=handlers
        )


def end(context: Context) -> None:
    """Do what grpcio does at the end of an RPC."""
    callbacks, context._state.callbacks = context._state.callbacks, None
    for callback in callbacks or []:
        callback()


def healthy(request: Any, context: Any) -> Any:
    return request, len(context._state.callbacks)


def adding(request: Any, context: Any) -> Any:
    context._state.callbacks.append(lambda: None)


def ending(request: Any, context: Any) -> Any:
    end(context)


def failing(request: Any, context: Any) -> Any:
    raise ValueError("broken")


@pytest.mark.parametrize("plain", [healthy, adding, ending, failing])
def test_when_an_rpc_ends(plain: Any) -> None:
    """Both cores notice the end of an RPC while its handler runs, and none after that."""
    told = []
    for core in CORES:
        handlers = Seen()
        behavior = guarded(core, plain, handlers)
        for callbacks, state in itertools.product(
            ([], [lambda: None], None, []), (ContextState, SimpleNamespace, ContextState)
        ):
            context = Context(None)
            context._state = state(callbacks=callbacks and callbacks.copy())
            if callbacks == []:
                context._state.callbacks = []
            if callbacks is not None or plain is ending:
                handlers.log.append(repr(outcome(behavior, b"1", context)))
                end(context)
        told.append(handlers.log)
    assert told[0] == told[1]
    assert (("/a/b", False, True, float) in told[0]) is (plain is ending)


def test_the_callback_of_a_handler_that_has_ended() -> None:
    """It is taken off the list where nobody has added one, so that gRPC need not call it."""
    context = Context([])
    guarded("c", healthy, Seen())(b"1", context)
    assert context._state.callbacks == []
    guarded("c", adding, Seen())(b"1", context)
    assert len(context._state.callbacks) == 2


def test_an_entry_that_somebody_has() -> None:
    """The next RPC of a thread takes the entry of the last, unless somebody else has it."""
    outcomes = []
    for core in (core_entries, compiled):
        handlers = type("Handlers", (core.InFlight,), {"_rpc_ended": lambda self, entry: None})(0)
        first = handlers.enter_unary("/a/b")
        first.ended = True
        second = handlers.enter_unary("/a/c")
        outcomes.append((first.rpc, first.ended, second.rpc, second is first))
        second()
        (known,) = handlers._by_thread.values()
        outcomes[-1] += (known is second, second.is_over())
        del known, first, second
        third = handlers.enter_unary("/a/d")
        outcomes[-1] += (third.rpc, third.ended, third.is_over())
    assert outcomes[0] == outcomes[1]


def test_many_threads() -> None:
    """Each thread has its entry, of whatever it handles last, and the server is full in time."""

    def enter(handlers: Any, ready: threading.Barrier, rpc: str) -> int:
        handlers.enter_unary("/a/a")
        ready.wait(PATIENCE)
        entry = handlers.enter_unary(rpc)
        ready.wait(PATIENCE)
        return int(entry.ident)

    for core in (core_entries, compiled):
        full: list[int] = []
        kind = type(
            "Handlers", (core.InFlight,), {"_watch": lambda self, full=full: full.append(1)}
        )
        handlers, ready = kind(20), threading.Barrier(20)
        parties = [in_thread(enter, handlers, ready, f"/a/{number}") for number in range(20)]
        expected = {party.result(): f"/a/{number}" for number, party in enumerate(parties)}
        assert {ident: entry.rpc for ident, entry in handlers._by_thread.items()} == expected
        assert len(full) >= 20


@pytest.mark.parametrize("core", CORES)
def test_a_server_with_a_thread_to_spare(core: str) -> None:
    """It is watched when all of its threads handle an RPC; the compiled core sees who has ended."""
    seen: list[int] = []

    class Small(Seen):
        def _watch(self) -> None:
            seen.append(len(self._by_thread))

    def answer(request: bytes, context: Any) -> Any:
        return in_thread(behavior, b"", Context([])).result() if request else len(seen)

    handlers = Small()
    handlers._size = 2
    behavior = guarded(core, answer, handlers)
    is_compiled = isinstance(handlers, compiled.InFlight) and core == "c"
    assert behavior(b"1", Context([])) == 1
    assert in_thread(behavior, b"1", Context([])).result() >= 2
    before = len(seen)
    for _ in range(5):
        behavior(b"", Context([]))
    assert (len(seen) == before) is is_compiled


@pytest.mark.parametrize("responds", [False, True])
def test_a_thread_whose_rpc_could_not_be_noted(responds: bool) -> None:
    """It is not busy: a pool of two is not full while another thread handles one."""
    seen: list[int] = []

    class Small(Handlers):
        def _follow_other(self, context: Any, entry: Any) -> None:
            raise KeyError

        def _watch(self) -> None:
            seen.append(1)

    handlers = Small(None)
    handlers._size = 2
    behavior = guarded("c", lambda request, context: iter([]), handlers, responds=responds)
    assert isinstance(outcome(behavior, b"", object()), KeyError)
    in_thread(behavior, b"", Context([])).result()
    assert seen == []


def test_a_thread_whose_rpc_could_not_be_watched() -> None:
    """Nothing is left of it: it is not busy, and nothing is called at the end of the RPC."""
    fails = [False, False, True]

    class Small(Handlers):
        def _watch(self) -> None:
            if fails.pop(0):
                raise ArithmeticError

    handlers = Small(None)
    handlers._size = 1
    behavior = guarded("c", healthy, handlers)
    assert [behavior(b"", Context([]))[1] for _ in range(2)] == [1, 1]
    context = Context([])
    assert isinstance(outcome(behavior, b"", context), ArithmeticError)
    assert context._state.callbacks == []
    handlers._size = 2
    assert in_thread(behavior, b"", Context([])).result() == (b"", 1)
    assert fails == []


def test_the_mode_of_each_rpc() -> None:
    """It is asked for each time, unless it is always the same."""
    for core in CORES:
        modes = iter([Mode.OFF, Mode.RAISE])
        handlers = Seen()
        behavior = guarded(core, healthy, handlers, lambda modes=modes: next(modes))
        assert [behavior(b"1", Context([])) for _ in range(2)] == [(b"1", 0), (b"1", 1)]
        with pytest.raises(StopIteration):
            behavior(b"1", Context([]))
        off = guarded(core, healthy, handlers, always(Mode.OFF))
        assert off(b"1", Context([])) == (b"1", 0)


# What it passes for


class Service:
    """Handlers of all kinds."""

    def method(self, request: bytes, context: Any, /, more: int = 1, *, only: str = "") -> bytes:
        """Answer."""
        return request * more

    def generator(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield request


def function(request: bytes, context: Any) -> bytes:
    return request


def attributed(request: bytes, context: Any) -> bytes:
    return request


attributed.note = "noted"  # type: ignore[attr-defined]

QUESTIONS: dict[str, Callable[[Any], Any]] = {
    name: getattr(inspect, name)
    for name in (
        *("isfunction", "ismethod", "isroutine", "isgeneratorfunction", "iscoroutinefunction"),
        *("isasyncgenfunction", "isbuiltin", "isclass", "signature", "getdoc", "getsourcelines"),
    )
} | {
    "class": lambda one: one.__class__,
    "isinstance": lambda one: isinstance(one, (types.FunctionType, types.MethodType)),
    "callable": callable,
    "names": lambda one: (one.__name__, one.__qualname__, one.__module__, one.__doc__),
    "type": lambda one: (type(one).__name__, repr(type(one)), str(type(one).__module__)),
    "kinds of values": lambda one: [
        type(getattr(one, name)).__name__
        for name in ("__code__", "__globals__", "__annotations__", "__builtins__", "__dict__")
    ],
    "hints": typing.get_type_hints,
    "missing": lambda one: (hasattr(one, "experimental_thread_pool"), outcome(getattr, one, "x")),
    "note": lambda one: getattr(one, "note", None),
    "dir": lambda one: sorted({*dir(one)} - {"__wrapped__"}),
    "copies": lambda one: copy.deepcopy(one) is one or inspect.ismethod(one),
    "pickle": lambda one: type(outcome(pickle.dumps, one)),
    "match": lambda one: next(
        kind for kind in (types.FunctionType, types.MethodType) if isinstance(one, kind)
    ),
    "partial": lambda one: functools.partial(one, b"1")(Context([])),
    "bound": lambda one: inspect.ismethod(one) or one.__get__(7).__self__,
    "of a class": lambda one: inspect.ismethod(one) or one.__get__(None, int) is one,
}


@pytest.mark.parametrize("plain", [function, attributed, Service().method, Service().generator])
def test_what_it_passes_for(plain: Any) -> None:
    """Whatever is asked of the guarded function has the answer of the one in Python."""
    responds = inspect.isgeneratorfunction(plain)
    in_c, in_python = (guarded(core, plain, Seen(), responds=responds) for core in CORES)
    for name, ask in QUESTIONS.items():
        answers = [repr(outcome(ask, one)) for one in (in_c, in_python)]
        if name == "partial" and responds:
            continue
        assert answers[0].partition(" at 0x")[0] == answers[1].partition(" at 0x")[0], name
    assert inspect.unwrap(getattr(in_c, "__func__", in_c)) is getattr(plain, "__func__", plain)
    assert repr(in_c).split(" at ")[0] == repr(plain).split(" at ")[0]


def test_what_is_assigned_to_it() -> None:
    """It has its own namespace, and what a function lets one assign."""
    one = guarded("c", attributed, Seen())
    assert vars(one) == {"note": "noted"}
    one.note, one.more = 1, 2
    assert (attributed.note, vars(one)) == ("noted", {"note": 1, "more": 2})  # type: ignore[attr-defined]
    one.__dict__ = {"other": 3}
    assert (vars(one), hasattr(one, "note")) == ({"other": 3}, False)
    one.__name__, one.__doc__, one.__module__ = "named", "Told.", "there"
    assert (one.__name__, one.__doc__, one.__module__) == ("named", "Told.", "there")
    del one.__module__
    assert one.__module__ is None
    assert attributed.__name__ == "attributed"
    with pytest.raises(TypeError):
        one.__name__ = 7
    with pytest.raises((AttributeError, TypeError)):
        one.__globals__ = {}
    lean = guarded("c", function, Seen())
    lean.note = 1
    assert vars(lean) == {"note": 1}


def test_other_arguments() -> None:
    """With names, more or fewer, it does what the function in Python does, errors included."""
    for plain in (Service().method, function):
        in_c, in_python = (guarded(core, plain, Seen()) for core in CORES)
        for args, names in [
            ((b"1", Context([])), {"only": "x"}),
            ((b"1", Context([]), 2), {}),
            ((b"1",), {"context": Context([])}),
            ((b"1",), {}),
            ((), {}),
        ]:
            acts = [functools.partial(one, *args, **names) for one in (in_c, in_python)]
            told = [repr(outcome(act)) for act in acts]
            assert told[0] == told[1]


def test_the_traceback_of_a_handler() -> None:
    """It has no line of the guard."""
    error = outcome(guarded("c", failing, Seen()), b"1", Context([]))
    assert isinstance(error, ValueError)
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_next is not None
    assert error.__traceback__.tb_next.tb_frame.f_code is failing.__code__


def test_it_keeps_nothing() -> None:
    """A handler that the program drops is freed at once, and an RPC leaves no reference."""
    context, handlers = Context([]), Seen()
    one = guarded("c", lambda request, context: request, handlers)
    one(b"1", context)
    before = sys.getrefcount(context), sys.getrefcount(handlers)
    for _ in range(100):
        one(b"1", context)
    assert (sys.getrefcount(context), sys.getrefcount(handlers)) == before
    gone = weakref.ref(one)
    del one
    assert gone() is None


# The handlers of a generic handler


class OwnHandler:
    """A method handler of an application's own class."""

    request_streaming = response_streaming = False

    def __init__(self) -> None:
        self.unary_unary = function


class LeanHandler:
    """The same, without a namespace."""

    __slots__ = ()

    request_streaming = response_streaming = False
    unary_unary = staticmethod(function)


class StrangeHandler(OwnHandler):
    """The same, which answers for any attribute."""

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name)


class Generic(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A generic handler that has one method handler, or fails."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def service(self, handler_call_details: Any) -> Any:
        if isinstance(self.handler, Exception):
            raise self.handler
        return self.handler


def test_the_twins_of_method_handlers() -> None:
    """For one RPC, a method handler has one twin, which both cores find; each generic handler has its own."""
    for handler in (
        grpc.unary_unary_rpc_method_handler(function),
        OwnHandler(),
        LeanHandler(),
        StrangeHandler(),
        None,
        KeyError("no"),
    ):
        guard = functools.partial(sync_handlers.guard_behavior, handlers=Seen())
        generic, other = (
            proxies_servers.GenericHandler(Generic(handler), always(Mode.RAISE), guard)
            for _ in range(2)
        )
        in_python = proxies_servers.GenericHandler.service.__wrapped__
        kept = [
            outcome(ask, generic, SimpleNamespace(method=rpc))
            for rpc in ("/a/b", "/a/c")
            for ask in (type(generic).service, in_python, type(generic).service)
        ]
        is_own = isinstance(handler, (OwnHandler, LeanHandler, tuple))
        for one in (kept[:3], kept[3:]):
            assert len({*map(id, one)}) == (3 if isinstance(handler, LeanHandler) else 1), handler
        assert (kept[0] is kept[3]) is not is_own
        assert (outcome(other.service, SimpleNamespace(method="/a/b")) is kept[0]) is not is_own
        if is_own:
            assert kept[0].unary_unary(b"1", Context([])) == b"1"
    with pytest.raises(TypeError):
        generic.service()
    with pytest.raises(AttributeError):
        proxies_servers.GenericHandler(Generic(OwnHandler()), always(Mode.RAISE), guard).service(7)
