"""The compiled core under hardship: ``python -m support.hardship``, in the folder tests.

``leaks`` does everything that it can do a million times and counts the blocks of memory that are
left. ``memory`` does it with every single allocation failing once: each has to end in
MemoryError, or to do without. The sessions of nox ``leaks`` and ``sanitize`` run these; the exit status is 1
if something is left, or is not as it has to be.
"""

from __future__ import annotations

import _imp
import argparse
import copy
import gc
import itertools
import sys
import weakref
from _thread import get_ident
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from inside import Mode, core_advances, core_fields, core_loops, monotonic

from support.hardship_aio import aio_acts
from support.hardship_looks import look_acts
from support.hardship_lookups import lookup_acts
from support.hardship_runs import run_acts
from support.hardship_starts import start_acts

Act = Callable[[], object]


class Thing:
    """Whatever a record holds; a stream or a task to the records of handlers."""

    ended = False


class Context:
    """The context of a server."""

    def __init__(self, state: object) -> None:
        self._state = state


class Starting:
    """A plain multi-callable of the aio api."""

    _loop = Thing()
    late = True

    def __call__(self, error: Any = None) -> Any:
        if error is not None:
            raise error
        return self


class Loop:
    """A loop as those of asyncio: it says which thread runs it."""

    _thread_id = 1


class Turn:
    """What an operation awaits: it suspends it once."""

    def __await__(self) -> Any:
        yield None


class BrokenLoop:
    @property
    def _thread_id(self) -> int:
        raise ValueError("no thread")


def refused(act: Act, *kinds: type[Exception]) -> None:
    """Do `act`, which has to raise one of `kinds`."""
    try:
        act()
    except kinds:
        return
    raise AssertionError(f"{act} was not refused")


def acts(core: ModuleType | Any) -> dict[str, Act]:
    """Return, by name, all that a core can be asked for, its errors included."""
    thing, loop = Thing(), Loop()

    class Stream(core.StreamFields):  # type: ignore[misc]
        __slots__ = ()

    class Sync(core.SyncFields):  # type: ignore[misc]
        __slots__ = ()

        def _equip(self) -> None:
            self._extra = thing

    class Aio(core.AioFields):  # type: ignore[misc]
        __slots__ = ()

        def _equip(self) -> None:
            self._extra = thing

    class Meta(core.ConstructingType):  # type: ignore[misc]
        def _make_twin(cls, plain: Any) -> Any:  # noqa: N805
            return Twin if plain is Thing else cls.missing

    class Proxy(metaclass=Meta):
        __slots__ = ("wrapped",)
        _self_twins: dict[int, Any] = {}

        def __init__(self, wrapped: Any) -> None:
            self.wrapped = wrapped

    class Twin(Proxy):
        __slots__ = ()

    class Known(Proxy):
        __slots__ = ()

    Known._self_twins = {id(Thing): Known}

    def stream(mode: Mode = Mode.RAISE, of: Any = loop) -> Any:
        return Stream("/a/b", "client", "aio", mode, of)

    plain, equipped = stream(), stream(Mode.SERIALIZE)
    stand_in = SimpleNamespace(is_instrumented=True, loop=loop)

    def tracked() -> None:
        one = stream()
        one.track_call(thing, len)
        one.track_call(7, len)  # no weak reference to that
        one.track_context(thing, len)

    def both_ways() -> None:
        one = stream()
        direction = Sync(one, thing)
        assert one.read is None
        one.read = one.write = direction
        assert one.read is one.write is direction
        del direction
        assert one.read is one.write is None

    def fields() -> None:
        one = stream()
        for name in core_fields.StreamFields.__slots__[1:]:
            setattr(one, name, getattr(one, name, None))
            delattr(one, name)

    def claimed() -> None:
        direction = Sync(plain, thing)
        for _ in range(2):
            del direction.free
            assert not hasattr(direction, "free")
            direction.free = True

    def unfinished() -> None:
        for kind in (Stream, Sync, Aio):
            weakref.ref(kind.__new__(kind))

    def refusals() -> None:
        one, direction = stream(), Sync(plain, thing)
        refused(lambda: Stream("/a/b"), TypeError)
        refused(lambda: one.track_call(thing), TypeError)
        refused(lambda: one.track_context(thing), TypeError)
        refused(lambda: setattr(one, "read", 7), TypeError)
        refused(lambda: delattr(one, "read"), AttributeError)
        del direction.free
        refused(lambda: delattr(direction, "free"), AttributeError)
        refused(lambda: Sync(plain), TypeError)
        refused(lambda: Sync(plain, thing, x=1), TypeError)
        refused(lambda: Sync(7, thing), AttributeError)
        refused(lambda: Aio(plain), TypeError)
        refused(lambda: Aio(7, "read"), AttributeError)
        refused(lambda: Aio(stream(of=BrokenLoop()), "read"), ValueError)
        refused(lambda: Proxy(), TypeError)
        refused(lambda: Proxy(thing, wrapped=1), TypeError)
        refused(lambda: Proxy(7), AttributeError)

    def refusals_of_the_unfinished() -> None:
        one, direction, other = Stream.__new__(Stream), Sync.__new__(Sync), Aio.__new__(Aio)
        for name in core_fields.StreamFields.__slots__[1:]:
            refused(lambda name=name: getattr(one, name), AttributeError)  # type: ignore[misc]
        refused(lambda: one.read, AttributeError)
        refused(lambda: direction.stream, AttributeError)
        refused(lambda: delattr(direction, "free"), AttributeError)
        refused(lambda: delattr(direction, "owner"), TypeError)
        refused(lambda: setattr(direction, "owner", "ann"), TypeError)
        assert other.taken is False
        refused(lambda: Sync(one, thing), AttributeError)
        refused(lambda: Aio(one, "read"), AttributeError)

    def repeated() -> None:
        one = stream()
        one.__init__("/c/d", "client", "aio", Mode.RAISE)
        direction = Sync(one, thing)
        direction.__init__(one, loop)

    class Handlers(core.InFlight):  # type: ignore[misc]
        def _follow_other(self, context: Any, entry: Any) -> None:
            entry()

        def _rpc_ended(self, entry: Any) -> None:
            pass

        def _watch(self) -> None:
            pass

    handlers, listed = Handlers(1), SimpleNamespace(callbacks=[])

    def entered() -> None:
        handlers.enter(thing, Context(listed))
        handlers.enter_unary("/a/b", Context(listed)).ended = True
        for callback in listed.callbacks:
            callback()
        listed.callbacks.clear()
        handlers.enter_unary("/a/b", Context(SimpleNamespace(callbacks=None)))
        handlers.enter_unary("/a/b", Context(None))
        handlers.enter_unary("/a/b", thing)

    def entered_by_tasks() -> None:
        task = Thing()
        entries = [handlers.enter_task(what, task) for what in (thing, "/a/b")]
        handlers.enter_task("/a/b", None)
        handlers.of_tasks()
        entries.append(core.TaskEntry("/a/b", task))

    def servers() -> None:
        server = Handlers(0)
        server.enter_unary("/a/b")()
        Handlers.__new__(Handlers)

    def refusals_of_entries() -> None:
        refused(lambda: Handlers("1"), TypeError)
        refused(lambda: Handlers(size=1), TypeError)
        refused(lambda: core.Entry(), TypeError)
        refused(lambda: core.Entry(7), TypeError)
        refused(lambda: core.Entry(thing)(), AttributeError)
        refused(lambda: core.UnaryEntry("/a/b")(1), TypeError)
        refused(lambda: handlers.enter(7), TypeError)
        refused(lambda: handlers.enter(), TypeError)
        refused(lambda: handlers.enter_task(thing), TypeError)
        refused(lambda: handlers.enter_task(thing, 7), TypeError)
        refused(lambda: handlers.of_tasks(7), TypeError)
        refused(lambda: core.TaskEntry("/a/b"), TypeError)
        refused(lambda: core.TaskEntry("/a/b", 7), TypeError)
        refused(lambda: core.TaskEntry("/a/b", task=thing), TypeError)

    def start(*changed: Any) -> Any:
        told = ({"generation": 0}, None, Mode.OFF, bool, (ValueError,), refused_start)
        return core.UnaryStart(method, *told[: 6 - len(changed)], *changed, "late", refused_start)

    def method(proxy: Any) -> None:
        pass

    def refused_start(proxy: Any, what: Any) -> None:
        pass

    in_force = SimpleNamespace(mode=Mode.OFF)
    tasks_of = SimpleNamespace(_self_choose=lambda: Mode.RAISE, __wrapped__=Starting())

    def started() -> None:
        for one in (start(), start(lambda: None, (ValueError,), refused_start)):
            one(tasks_of)
        aio = start(in_force, Mode.OFF, lambda: loop_of, (ValueError,), refused_start)
        aio(tasks_of)
        one.__name__  # noqa: B018
        refused(lambda: aio(tasks_of, ValueError), ValueError)

    loop_of = Starting._loop

    def refusals_of_starts() -> None:
        refused(lambda: core.UnaryStart(method), TypeError)
        refused(lambda: core.UnaryStart(method=method), TypeError)
        refused(lambda: start()(), TypeError)
        refused(lambda: start()(thing), AttributeError)
        refused(
            lambda: start(lambda: 1 / 0, (ValueError,), refused_start)(tasks_of), ArithmeticError
        )

    return {
        "start of a unary RPC": started,
        "refusals of unary starts": refusals_of_starts,
        "handlers, by thread": entered,
        "handlers, by task": entered_by_tasks,
        "records of a server": servers,
        "refusals of entries": refusals_of_entries,
        "start of a stream": stream,
        "start of a stream, equipped": lambda: stream(Mode.SERIALIZE),
        "direction, sync": lambda: Sync(plain, thing),
        "direction, sync, equipped": lambda: Sync(equipped, thing),
        "direction, aio": lambda: Aio(plain, "read", thing),
        "direction, aio, equipped": lambda: Aio(equipped, "read"),
        "direction, aio, of another loop": lambda: Aio(stream(of=thing), "read"),
        "direction, aio, of a stand-in": lambda: Aio(stand_in, "read"),
        "claim": claimed,
        "call and context": tracked,
        "both directions": both_ways,
        "fields": fields,
        "unfinished": unfinished,
        "made twice": repeated,
        "proxy": lambda: Proxy(thing),
        "proxy with a twin": lambda: Known(thing),
        "cycle": lambda: in_cycle(stream(), Sync, Aio),
        "refusals": refusals,
        "refusals of the unfinished": refusals_of_the_unfinished,
        **operations(core),
    }


# What is done where a claim fails, and after the end of a handler: the same without the guard.
NAMES = {
    **vars(core_advances),
    "contended": lambda direction, operation, function, *args: function(*args),
    "used_after_end": lambda stream, operation: None,
}


class Steps:
    """An iterator, a call and a sender whose steps end as they are told."""

    def __init__(self, error: type[BaseException] | None = None) -> None:
        self._error = error

    def __next__(self, response: object = None) -> object:
        if self._error is not None:
            raise self._error()
        return response

    initial_metadata = __next__


def operations(core: ModuleType | Any) -> dict[str, Act]:
    """Return, by name, all that can be done with the sync operations of a core."""

    class Stream(core.StreamFields):  # type: ignore[misc]
        __slots__ = ()

    class Sync(core.SyncFields):  # type: ignore[misc]
        __slots__ = ()

    def direction(iterator: Any) -> Any:
        one = Sync(Stream("/a/b", "server", "sync", Mode.RAISE), iterator)
        one.stream.read = one
        return one

    good, bad = Steps(), Steps(KeyError)
    makers = [
        *(core.reading_responses, core.reading_requests),
        *(core.taking_requests, core.taking_responses),
    ]

    def done() -> None:
        for make in makers:
            one = direction(good)
            advance = make(one)
            assert advance() is advance() is None
            assert one.free
            assert one.operation is one.caller is None

    def failed() -> None:
        for make in makers:
            one = direction(bad)
            refused(make(one), KeyError)
            assert one.free
            assert one.stream.ended is (make is core.taking_responses)

    def exhausted() -> None:
        for make in makers:
            advance = make(direction(iter((1,))))
            assert advance() == 1
            refused(advance, StopIteration)

    def sent() -> None:
        one = direction(good)
        send = core.sending_responses(one)
        assert send(good) is send(response=good) is good
        assert send(None) is None
        assert one.stream.ended

    def metadata() -> None:
        for call in (good, bad):
            one = direction(good)
            advance, initial_metadata = core.reading_responses_or_metadata(one, call)
            assert advance() is None
            if call is good:
                initial_metadata()
            else:
                refused(initial_metadata, KeyError)
            assert one.free

    def inside() -> None:
        seen: list[Any] = []

        class Looking(Steps):
            def __next__(self) -> None:
                seen.append(core.operations_in_progress())
                seen.append((one.operation, one.caller, one.owner))
                one.free = True  # by hand: another one comes in
                if len(seen) < 4:
                    advance()

        one = direction(Looking())
        advance = core.reading_responses(one)
        advance()
        assert seen[0] == seen[2] == [one]
        assert seen[1][0] == "next"
        assert one.free
        assert core.operations_in_progress() == []

    def as_a_function() -> None:
        advance = core.sending_responses(direction(good))
        assert weakref.ref(advance)() is advance
        assert advance.__self__ is advance.direction
        assert advance.__name__ == "advance"
        assert advance.__qualname__ == "_sending.<locals>.advance"
        assert len(advance.__signature__.parameters) == 1
        assert copy.copy(advance) is copy.deepcopy(advance) is advance
        assert advance.direction.iterator is good

    def cyclic() -> None:
        one = direction(good)
        advance = core.taking_requests(one)
        one.iterator = advance, core.reading_responses_or_metadata(one, advance)

    def met() -> None:
        for make in (*makers, core.sending_responses):
            one = direction(good)
            one.stream.ended = True
            act = make(one)
            for _ in range(2):
                assert (act(good) if make is core.sending_responses else act()) in (None, good)
                one.free = True
                del one.free

    def identified() -> None:
        one = direction(good)
        for ident in (7, (1 << 64) - 1, "a greenlet"):
            core.configure_steps({**NAMES, "get_ident": lambda ident=ident: ident})
            core.reading_responses(one)()
            assert one.owner == (ident if isinstance(ident, int) else None)
        core.configure_steps(NAMES)
        for _ in range(2):
            core.reading_responses(one)()
            assert one.owner == get_ident()

    def refused_operations() -> None:
        one = direction(good)
        advance, send = core.reading_responses(one), core.sending_responses(one)
        refused(lambda: advance(1), TypeError)
        refused(lambda: advance(x=1), TypeError)
        refused(send, TypeError)
        refused(lambda: send(1, 2), TypeError)
        refused(lambda: send(x=1), TypeError)
        refused(lambda: core.reading_responses(7), TypeError)
        refused(lambda: core.reading_responses_or_metadata(one), TypeError)
        refused(lambda: core.reading_responses_or_metadata(7, one), TypeError)
        refused(lambda: core.configure_steps({}), TypeError)
        refused(lambda: core.configure_steps(7), TypeError)
        refused(type(advance), TypeError)
        refused(lambda: setattr(one, "operation", "next"), AttributeError)
        del one.iterator
        refused(advance, AttributeError)
        assert one.free
        refused(lambda: delattr(one, "stream"), AttributeError)

    return {
        "operations": done,
        "operations that fail": failed,
        "operations at the end": exhausted,
        "operation that sends": sent,
        "operation of the metadata": metadata,
        "operations in progress": inside,
        "operation as a function": as_a_function,
        "operations in a cycle": cyclic,
        "operations that meet others": met,
        "operations of others": identified,
        "refusals of operations": refused_operations,
    }


def in_cycle(stream: Any, sync: Any, aio: Any) -> None:
    """Leave a stream, its directions and itself to the collector."""
    stream.origin = stream
    stream.channel = sync(stream, stream)
    stream.handler = aio(stream, stream, stream)
    stream.read, stream.write = stream.channel, stream.handler


def importing(core: Any) -> Act:
    """Return what makes the module anew, past importlib and its frames."""
    spec = core.__spec__

    def act() -> ModuleType:
        module = _imp.create_dynamic(spec)
        _imp.exec_dynamic(module)
        return module

    return act


def outlived(core: Any) -> Act:
    """Return what makes the module anew, and has it collected before what it has made."""
    make = importing(core)

    async def wait(*_: Any) -> None:
        await Turn()

    def act() -> weakref.ref[Any]:
        module: Any = configured(make())
        gc.collect()  # what is made now is younger, and so cleared later

        class Stream(module.StreamFields):  # type: ignore[misc]
            __slots__ = ()

        class Sync(module.SyncFields):  # type: ignore[misc]
            __slots__ = ()

        class Aio(module.AioFields):  # type: ignore[misc]
            __slots__ = ()

        module.configure_aio(Aio, KeyError, lambda step: step, lambda: 0)

        class Proxy:
            __slots__ = ("read_direction",)
            read = module.AioMethod(wait, "read", "read_direction", None, 1)

        proxy: Any = Proxy()
        stream = Stream("/a/b", "client", "aio", Mode.RAISE, Loop())
        proxy.read_direction = Aio(stream, "read", wait)
        operation = proxy.read()
        assert operation.send(None) is None
        held: list[Any] = [module.taking_requests(Sync(stream, Steps())), operation]
        held.append(held)
        gone = weakref.ref(module)
        del module, Stream, Sync, Aio, Proxy, proxy, stream, operation, held
        gc.collect()
        return gone

    return act


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def leaking(act: Act, times: int, shared: list[Any]) -> tuple[int, int]:
    """Return how many blocks are left of `times` times, and how many references to what is `shared`."""
    for _ in range(max(100, min(times, 1000), times // 200)):  # caches fill slowly, ours too
        act()
    before = references = 0
    for _ in range(2):  # the second time these numbers have their own blocks
        before, references = blocks(), sum(map(sys.getrefcount, shared))
    for _ in itertools.repeat(None, times):
        act()
    return blocks() - before, sum(map(sys.getrefcount, shared)) - references


def failing(act: Act) -> tuple[int, list[str]]:
    """Do `act` once for each allocation, which fails; return how many, and what came of it but MemoryError.

    Where the allocation of a traceback fails, CPython 3.11 raises SystemError. 3.12 and 3.13 crash,
    or go on with a broken heap, without grpc_guard too, as they do where a class is made: there,
    main() leaves all of this out.
    """
    import _testcapi  # type: ignore[import-not-found]

    others = []
    for number in range(1, 4000):
        gc.collect()
        gc.disable()
        try:
            _testcapi.set_nomemory(number - 1, number)
            try:
                act()
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError:
            continue
        except SystemError as error:
            if "without" not in str(error):  # … exception set, … setting an exception
                others.append(f"{number}: {error}")
            continue
        except BaseException as error:
            others.append(f"{number}: {type(error).__name__}: {error}")
            continue
        finally:
            gc.enable()
        if number > 2000 or not _fails_later(act, number):
            return number, others
    raise AssertionError


def _fails_later(act: Act, number: int) -> bool:
    """Tell whether `act` allocates more often than `number` times: it can do without some."""
    import _testcapi

    gc.disable()
    try:
        for later in range(number + 1, number + 20):
            try:
                _testcapi.set_nomemory(later - 1, later)
                try:
                    act()
                finally:
                    _testcapi.remove_mem_hooks()
            except BaseException:
                return True
        return False
    finally:
        gc.enable()


def compiled() -> Any:
    from grpc_guard._core import _compiled  # type: ignore[attr-defined]

    return configured(_compiled)


def configured(core: Any) -> Any:
    core.configure(
        vars(core_fields),
        Mode.SERIALIZE,
        core_loops.loop_thread_of,
        monotonic,
        lambda loop: loop,  # the task
        {"SERVER_CONTEXT": Context},
    )
    core.configure_steps(NAMES)
    return core


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def other_acts(core: Any) -> dict[str, Act]:
    """Return, by name, all that is done but looks."""
    return {
        **acts(core),
        **aio_acts(core),
        **start_acts(core, refused, Context),
        **run_acts(core, refused),
        **lookup_acts(core, refused),
        "import": importing(core),
        "import, collected": outlived(core),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["leaks", "memory"])
    parser.add_argument("--times", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.what == "memory" and sys.version_info >= (3, 12):
        say("CPython itself does not survive this from 3.12 on: see failing()")
        return 0
    wrong, core = 0, compiled()
    shared = [None, True, False, Mode.RAISE, *(value for value in vars(core).values())]
    of_looks = look_acts(core)  # at many streams each
    every = {**of_looks, **other_acts(core)}
    gc.freeze()  # else each of thousands of collections goes through all that was imported
    for name, act in every.items():
        act()
        if options.what == "leaks":
            is_long = "import" in name or "collected" in name or name in of_looks
            times = options.times // (100 if is_long else 1)
            for _ in range(4):  # what is left in a cache that fills slowly is not left each time
                left, references = leaking(act, times, shared)
                if left <= 0:
                    break
            # The list of the subclasses of object has some hundred blocks more at one time than at
            # another, however often the module was made.
            wrong += left > (1000 if "import" in name else 0) or references > 10
            say(f"{name}: {times} times, {left} blocks and {references} references left")
        else:
            number, others = failing(act)
            wrong += len(others)
            say(f"{name}: {number - 1} allocations failed {'; '.join(others)}")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
