"""A forked child of the test's own process, and what it has to say."""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import warnings
from collections.abc import Callable

from support.staging import PATIENCE


def in_child(function: Callable[[], str]) -> str:
    """Return what `function` returns in a forked child.

    The child says it through a pipe and ends by a signal. At os._exit() what measures coverage
    would save its data there, and has been seen not to come back from that. What is garbage at
    the fork stays so: a channel of grpcio that is collected in a child can wait for ever for a
    thread that the child does not have. A child that hangs is asked where, by another signal.
    """
    reader, writer = os.pipe()
    faulthandler.register(signal.SIGUSR2, file=writer)
    gc.freeze()  # before the fork: what is called right after it, in the child, may collect
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 3.12: that a process with threads forks
        child = os.fork()
    if child == 0:
        try:
            os.write(writer, function().encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    gc.unfreeze()
    faulthandler.unregister(signal.SIGUSR2)
    os.close(writer)
    try:
        if not _has_written(reader):
            os.kill(child, signal.SIGUSR2)
            where = os.read(reader, 10_000).decode() if _has_written(reader) else "it does not say"
            raise AssertionError(f"the forked child hangs:\n{where}")
        return os.read(reader, 10_000).decode()
    finally:
        os.kill(child, signal.SIGKILL)  # not reaped yet: the pid is still its own
        os.waitpid(child, 0)
        os.close(reader)


def _has_written(reader: int) -> bool:
    return bool(select.select([reader], [], [], PATIENCE)[0])
