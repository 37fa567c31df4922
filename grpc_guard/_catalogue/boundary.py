"""The one place that decides whether the guard swallows an exception or raises it in the program.

An error in the guard's own bookkeeping is logged and swallowed: the program must not notice it.
But an exception of the program can arrive during the bookkeeping: CPython runs signal handlers
between two instructions (a ``SoftTimeLimitExceeded``, a TimeoutError by SIGALRM), and another
thread can raise any exception by ``PyThreadState_SetAsyncExc``. Those must reach the program.

An exception is the guard's own (:func:`is_own`) if all of this holds:

- Its class is one of the guard's own, or a built-in class that mistakes in code or the system
  raise. It is not a class of a program or a library, nor one that reports time limits: not
  TimeoutError, not Exception itself.
- No signal handler raised it. CPython calls a handler with the frame that it interrupts, so in
  the traceback the handler's frame comes next to a frame that it holds. That distinguishes it
  from a function of the program that the guard has called, such as a filter of the log, whose
  errors are swallowed like the guard's own.

Some exceptions of the program cannot be recognised, and are swallowed: those of one of these
built-in classes that SetAsyncExc raises, or that come from a signal handler without a frame (in C,
or compiled) or one that keeps the frame that it gets in no variable. Exceptions in a finaliser, a
callback of a weak reference or a handler of the log are swallowed by CPython and ``logging``.

Used where the bookkeeping may not raise, without a cost until something is raised::

    except Exception as error:
        if not overlooked(error, "the start of a stream goes unnoticed"):
            raise
"""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable
from types import FrameType
from typing import Any, ParamSpec

P = ParamSpec("P")

logger = logging.getLogger("grpc_guard")

_GUARD = __name__.partition(".")[0]

# Kinds of mistakes, and what the system raises. OSError without TimeoutError.
_MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    ReferenceError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
)


def overlooked(error: Exception, message: str, *args: object) -> bool:
    """Log `error` with `message` and return True if it is the guard's own, else return False.

    If the interpreter is shutting down and starts no new thread, that is no mistake: not logged.
    """
    if not is_own(error):
        return False
    # No str(error): that of a KeyError asks a key, which may be the program's.
    if not any(type(one) is str and one.endswith(_AT_THE_END) for one in error.args):
        logger.error(message, *args, exc_info=error)
    return True


_AT_THE_END = "at interpreter shutdown"  # what CPython says since 3.12


def never_disturbs(message: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Let a function return whatever goes wrong inside; log the guard's own errors with `message`.

    It costs a call, and shifts the frames that sys._getframe() counts.
    """

    def protect(function: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(function)
        def protected(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except Exception as error:
                if not overlooked(error, message):
                    raise

        return protected

    return protect


def is_own(error: Exception) -> bool:
    """Tell whether the guard's own bookkeeping raised `error`; see the module."""
    return _is_mistake(error) and not _of_signal_handler(error)


def is_injected(error: Exception) -> bool:
    """Tell whether `error` came out of a signal handler or another thread.

    For an exception of any class that may come from code of the program which the guard called:
    a reporter, a call that an interceptor made. It is injected if a signal handler raised it, or
    if it arose in a frame of the guard and is not the guard's own.
    """
    return _of_signal_handler(error) or (_arose_in_guard(error) and not _is_mistake(error))


# For what a program hands on in place of an object of grpcio: it may not expect to be asked.


def attribute_of(obj: object, name: str) -> Any:
    """Return attribute `name` of the program's `obj`; None if it has none, or if that raises."""
    return _answer(operator.attrgetter(name), obj)


def asked(obj: object, name: str, *args: object) -> Any:
    """Return what method `name` of the program's `obj` returns; None if it has none, or if that raises."""
    return _answer(operator.methodcaller(name, *args), obj)


def _answer(ask: Callable[[object], Any], obj: object) -> Any:
    try:
        return ask(obj)
    except Exception as error:
        if is_injected(error):
            raise
        return None


def _is_mistake(error: Exception) -> bool:
    module = type(error).__module__
    if module == "builtins":
        return isinstance(error, _MISTAKES) and not isinstance(error, TimeoutError)
    return _is_of_guard(module)


def _of_signal_handler(error: Exception) -> bool:
    """Tell whether the traceback of `error` leads through a signal handler."""
    trace, interrupted = error.__traceback__, None
    while trace is not None:
        frame = trace.tb_frame
        if interrupted is not None and not _runs_guard(frame) and _holds(frame, interrupted):
            return True
        trace, interrupted = trace.tb_next, frame
    return False


def _holds(frame: FrameType, interrupted: FrameType) -> bool:
    """Tell whether a variable of `frame` is `interrupted`; of ``*args`` too."""
    return any(
        value is interrupted
        or (type(value) is tuple and any(argument is interrupted for argument in value))
        for value in tuple(frame.f_locals.values())  # a module's are shared
    )


def _arose_in_guard(error: Exception) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and _runs_guard(trace.tb_frame)


def _runs_guard(frame: FrameType) -> bool:
    return _is_of_guard(str(frame.f_globals.get("__name__")))


def _is_of_guard(module: str) -> bool:
    return module.partition(".")[0] == _GUARD
