"""Asynchronous exceptions, delivered by CPython itself, before one instruction after another.

A tracer that raises is no model of a signal handler: it can raise where CPython never
does. CPython looks for pending exceptions at few places only: after a call into C, where a
Python function starts or is resumed, and at jumps backward, for instance. It does not look
between ``del direction[1]`` and the ``try`` that follows, and just this the guard relies
on. So nothing is raised here. The exception is made *pending* right before an instruction,
and the interpreter of the day delivers it where it would deliver any other.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import itertools
import signal
import sys
import threading
from _thread import get_ident, interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)


class Interrupt(BaseException):
    """What a signal handler or another thread throws in."""


def interrupt_thread(ident: int) -> None:
    """Make an Interrupt pending in thread `ident`."""
    assert _set_async_exc(ident, Interrupt) == 1


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep finalisers and tracers from running here.

    CPython swallows what arrives in a finaliser, and what measures coverage has locks of its
    own, which it does not give back if it is interrupted.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.settrace(tracer)


@contextmanager
def untraced_threads() -> Iterator[None]:
    """Start threads without the tracer that others get from what measures coverage.

    While an exception is pending in a thread of CPython 3.11, every other thread that is traced
    stands still where it next enters a function, and a thread that waits for it waits for ever:
    coveragepy issue 1626.
    """
    tracer = threading.gettrace()
    threading.settrace(None)
    try:
        yield
    finally:
        threading.settrace(tracer)


# Each makes a trigger: an object that makes an exception pending in this thread when ``pulled`` is
# read. Read and not called: after a call CPython would deliver it at once, inside the tracer.


def by_thread(error: type[BaseException] = Interrupt) -> Any:
    """Return a trigger of an `error` as another thread throws it in."""
    pulled = property(functools.partial(_set_async_exc, get_ident(), error))
    return type("Trigger", (int,), {"pulled": pulled})()  # an int, for ctypes passes it on


def by_signal(number: int) -> Any:
    """Return a trigger of what the handler of signal `number` raises, in the main thread."""
    return type("Trigger", (int,), {"pulled": property(interrupt_main)})(number)


class _Injection:
    """One exception, by default an Interrupt, pending before instruction `number` of those that `codes` execute.

    Instructions are counted over all runs of `codes` in the thread that calls run().
    """

    def __init__(
        self, number: int, codes: frozenset[CodeType], trigger: Callable[[], Any] = by_thread
    ) -> None:
        self.fired = False
        self._left = number
        self._codes = codes
        self._trigger = trigger()

    def run(self, function: Callable[[], Any]) -> BaseException | None:
        """Call `function`; return what it raised."""
        with undisturbed():
            return self._run(function)

    def _run(self, function: Callable[[], Any]) -> BaseException | None:
        try:
            self._start()
            try:
                function()
            finally:
                for _ in range(3):
                    get_ident()  # a call: what is pending still comes now
        except BaseException as error:
            return error
        finally:
            self._stop()
        return None

    def _is_due(self) -> bool:
        """Count an instruction that is about to be executed; tell whether it is the one."""
        self._left -= 1
        self.fired = self.fired or self._left < 0
        return self._left == -1

    def _start(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError


if sys.version_info >= (3, 12):
    _TOOL = 4  # free: coverage has 1, profilers have 2
    _INSTRUCTION = sys.monitoring.events.INSTRUCTION

    class Injection(_Injection):
        __doc__ = _Injection.__doc__

        def _on_instruction(self, code: CodeType, offset: int) -> None:
            if get_ident() == self._ident and self._is_due():
                self._look_away()
                self._trigger.pulled  # noqa: B018  # the last thing that happens here

        def _look_away(self) -> None:
            for code in self._codes:
                sys.monitoring.set_local_events(_TOOL, code, 0)

        def _start(self) -> None:
            self._ident = get_ident()
            sys.monitoring.use_tool_id(_TOOL, "interrupts")
            sys.monitoring.register_callback(_TOOL, _INSTRUCTION, self._on_instruction)
            for code in self._codes:
                sys.monitoring.set_local_events(_TOOL, code, _INSTRUCTION)

        def _stop(self) -> None:
            self._look_away()
            sys.monitoring.free_tool_id(_TOOL)

else:

    class Injection(_Injection):
        __doc__ = _Injection.__doc__

        def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
            if frame.f_code not in self._codes:
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            if event == "opcode" and self._is_due():
                sys.settrace(None)
                self._trigger.pulled  # noqa: B018  # the last thing that happens here
            return self._trace

        def _start(self) -> None:
            sys.settrace(self._trace)

        def _stop(self) -> None:
            sys.settrace(None)


def sweep(
    codes: frozenset[CodeType], step: int = 1, trigger: Callable[[], Any] = by_thread
) -> Iterator[Injection]:
    """Yield an injection for each instruction, or every `step`-th."""
    with untraced_threads():
        for number in itertools.count(0, step):
            injection = Injection(number, codes, trigger)
            yield injection
            if not injection.fired:
                assert number >= 10 * step, "hardly anything was injected"
                return


@contextmanager
def interrupted_by_timer() -> Iterator[Callable[[float], None]]:
    """Make SIGALRM raise Interrupt in the main thread; yield what winds up the timer."""

    def handler(number: int, frame: Any) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with undisturbed():
            yield functools.partial(signal.setitimer, signal.ITIMER_REAL)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def code_of(*functions: Any) -> frozenset[CodeType]:
    """Return the code of `functions`."""
    return frozenset(function.__code__ for function in functions)


def codes_within(function: Callable[[], Any], package: str) -> frozenset[CodeType]:
    """Return the code below the folder `package` that a call of `function` executes here."""
    codes = set()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code.co_filename.startswith(package):
            codes.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return frozenset(codes)
