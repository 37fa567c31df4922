"""What the compiled core can be asked for in asyncio, its errors included: see hardship.py."""

from __future__ import annotations

import gc
import traceback
import warnings
import weakref
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import Any

from inside import AioDirection, Mode, Stream

from support.operating import ThisThread

Act = Callable[[], object]


class Pause:
    """What a step awaits: it suspends the operation once."""

    def __await__(self) -> Iterator[None]:
        yield None


class Stubborn:
    """An awaitable whose iterator can be sent nothing, thrown nothing, and not closed."""

    def __await__(self) -> Any:
        return iter([None, None])


async def paused(message: object = None) -> object:
    await Pause()
    return message


async def at_once(message: object = None) -> object:
    return message


def told(stream: Any, operation: str, error: object, direction: Any, proxy: object) -> None:
    assert direction.taken, "the operation that is reported still owns its direction"


def not_told(*_: object) -> None:
    raise LookupError


async def failing(message: object = None) -> object:
    raise LookupError


def stopping(message: object = None) -> object:
    raise StopIteration


def aio_acts(core: Any) -> dict[str, Act]:
    """Return, by name, all that operations of a compiled core can be asked for."""
    stream = Stream("/a/b", "client", "aio", Mode.RAISE, ThisThread())  # type: ignore[arg-type]
    astray = Stream("/a/b", "client", "aio", Mode.RAISE, None)

    async def written(self: Any, message: object) -> object:
        direction = self.direction
        if direction.taken:
            raise RuntimeError("taken")
        return await direction.step(message)

    async def next_one(self: Any) -> object:
        return await self.step()

    class Holder:
        __slots__ = ("__weakref__", "direction", "step")

        def __init__(self, step: Any, of: Any = stream) -> None:
            self.direction: Any = AioDirection(of, "write", step)
            self.step = step

        write = core.AioMethod(written, "write", "direction", None, 2)
        anext = core.AioMethod(next_one, "anext", "direction", "step", 1)

    def ended(operation: Any, kind: type[BaseException] = StopIteration) -> None:
        try:
            operation.send(None)
        except kind:
            return
        raise AssertionError(f"{operation} has not ended by {kind}")

    def thrown(operation: Any, *what: Any, kind: type[BaseException]) -> None:
        try:
            operation.throw(*what)
        except kind:
            return
        raise AssertionError(f"{operation} has not ended by {kind}")

    quick, slow, broken, stop = map(Holder, (at_once, paused, failing, stopping))
    stubborn, wrong = Holder(lambda *_: Stubborn()), Holder(lambda *_: 7)
    holders = (quick, slow, broken, stop, stubborn, wrong)

    def free(act: Act) -> Act:
        """Return `act`, after which nothing may be owned, however it ends."""

        def done() -> None:
            try:
                act()
            except BaseException as error:
                one: BaseException | None = error
                while one is not None:  # its frames have operations that are not done
                    traceback.clear_frames(one.__traceback__)
                    one = one.__context__
                raise
            finally:
                for holder in holders:
                    if holder.direction.taken or holder.direction.inside is not None:
                        holder.direction.taken = False
                        raise AssertionError(f"{act} has left a direction owned")

        return done

    def resumed() -> None:
        operation = slow.write(quick)
        operation.send(None)
        assert slow.direction.inside is operation
        assert operation.owns
        ended(operation)
        ended(operation, RuntimeError)

    def closed() -> None:
        operation = slow.write(quick)
        operation.close()
        operation = slow.anext()
        operation.send(None)
        operation.close()
        operation.close()

    def dropped() -> None:
        operation = slow.write(quick)
        operation.send(None)

    def watched() -> None:
        operation = slow.write(quick)
        operation.send(None)
        reference = weakref.ref(operation, lambda _: seen.append(slow.direction.inside))
        del operation
        assert reference() is None
        assert not any(seen)  # it was not inside any more; nothing if the callback lacked memory
        seen.clear()

    def kept() -> None:
        """Drive it while it runs, and keep it when it dies."""
        operation = selfish.write(1)
        operation.send(None)
        del operation
        operation = seen.pop()
        if (
            operation is not None
        ):  # else its close() lacked memory, and the step was closed after it
            ended(operation, RuntimeError)

    async def holding(message: object = None) -> None:
        ended(selfish.direction.inside, ValueError)
        try:
            await Pause()
        finally:
            seen.append(selfish.direction.inside)

    seen: list[Any] = []
    selfish = Holder(holding)

    def never_awaited() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            slow.write(quick)

    def thrown_in() -> None:
        for kind in (KeyError, GeneratorExit):
            operation = slow.write(quick)
            operation.send(None)
            thrown(operation, kind(), kind=kind)
            thrown(operation, kind(), kind=RuntimeError)
            operation = slow.anext()
            thrown(operation, kind, kind=kind)
        for _ in range(2):
            operation = stubborn.write(quick)
            operation.send(None)
            thrown(operation, KeyError, KeyError(1), kind=KeyError)

    def cancelled() -> None:
        for tell, kind in ((told, CancelledError), (not_told, LookupError)):
            core.tell_of_cancels(tell)
            operation = slow.write(quick)
            operation.send(None)
            thrown(operation, CancelledError(), kind=kind)

    def let_through() -> None:
        first, second = slow.write(quick), slow.write(quick)
        first.send(None)
        ended(second, RuntimeError)
        first.close()

    def off_its_loop() -> None:
        ended(Holder(at_once, astray).write(quick))

    def failed() -> None:
        ended(broken.write(1), LookupError)
        ended(stop.write(1), RuntimeError)
        ended(wrong.write(1), TypeError)

    def shown() -> None:
        operation = slow.write(quick)
        repr(operation), operation.place, operation._grpc_guard_asked_at, operation.direction
        operation.__name__ = operation.__qualname__ = "other"
        assert operation.cr_frame.f_code is operation.cr_code is operation.code
        operation.send(None)
        repr(operation), operation.cr_frame, operation.cr_await, operation.cr_code
        ended(operation)
        assert operation.proxy is operation.direction is operation.cr_await is None
        assert [operation.owns, operation.cr_running, operation.cr_suspended] == [False] * 3

    def cycle() -> None:
        holder = Holder(paused)
        operation = holder.write(holder)
        operation.send(None)
        holder.step = operation
        weakref.ref(operation)

    def collected() -> None:
        cycle()
        gc.collect()

    def refusals() -> None:
        operation = slow.write(quick)
        for what in ((), (7,), (KeyError(), 1), (KeyError, None, 1), (1, 2, 3, 4)):
            thrown(operation, *what, kind=TypeError)
        for name, value in {"__name__": 1, "__qualname__": None}.items():
            try:
                setattr(operation, name, value)
            except TypeError:
                continue
            raise AssertionError(name)
        try:
            operation.send(1)
        except TypeError:
            operation.close()
        for args in (
            (),
            (written, "write", "direction", None, 3),
            (written, 1, "direction", None, 2),
        ):
            try:
                core.AioMethod(*args)
            except (TypeError, ValueError):
                continue
            raise AssertionError(args)

    alone = {
        "aio operation": lambda: ended(quick.write(1)),
        "aio operation with a step of its own": lambda: ended(quick.anext()),
        "aio operation by name": lambda: quick.write(message=1).close(),
        "aio operation, suspended": resumed,
        "aio operation, closed": closed,
        "aio operation, dropped": dropped,
        "aio operation, watched when it dies": watched,
        "aio operation, kept when it dies": kept,
        "aio operation, never awaited": never_awaited,
        "aio operation, thrown in": thrown_in,
        "aio operation, cancelled": cancelled,
        "aio operation beside another": let_through,
        "aio operation off its loop": off_its_loop,
        "aio operation, failed": failed,
        "aio operation, shown": shown,
        "aio operation in a cycle": cycle,
        "aio operation in a cycle, collected": collected,
        "aio operation, refusals": refusals,
        "aio method": lambda: core.AioMethod(written, "write", "direction", None, 2).__name__,
    }
    return {name: free(act) for name, act in alone.items()}
