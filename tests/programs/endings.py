"""Breaks the contract once and ends as its argument says."""

import asyncio
import os
import select
import signal
import sys
import threading

from collision import collide


def fork():
    """End in two processes, with a collision in each; the child ends as workers do."""
    pid = os.fork()
    asyncio.run(collide())
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def leave():
    """Fork a process that has nothing to tell of its own."""
    asyncio.run(collide())
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def execute():
    """Become another program, with a collision of its own."""
    asyncio.run(collide())
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, __file__, "return"])


def again():
    """Collide twice in the same place."""
    for _ in range(2):
        asyncio.run(collide())


def close():
    """Close all descriptors, as daemons do."""
    os.closerange(0, 64)
    asyncio.run(collide())


def blind():
    """Collide with nothing left to print to."""
    sys.stderr = sys.__stderr__ = None
    asyncio.run(collide())


def hang():
    """Collide and wait for a signal."""
    asyncio.run(collide())
    told, teller = os.pipe()
    os.set_blocking(teller, False)
    signal.set_wakeup_fd(teller)  # at any moment of the interpreter
    print("ready", flush=True)
    select.select([told], [], [])


OTHERS = {
    "fork": fork,
    "leave": leave,
    "execute": execute,
    "again": again,
    "close": close,
    "blind": blind,
    "hang": hang,
}


def main(ending, argument=None):
    if ending in OTHERS:
        OTHERS[ending]()
        return
    asyncio.run(collide())
    if ending == "raise":
        raise ValueError("the program's own")
    if ending == "exit":
        sys.exit(argument if argument is None or not argument.isdecimal() else int(argument))
    elif ending == "_exit":
        os._exit(int(argument))
    elif ending == "kill":
        os.kill(os.getpid(), signal.Signals[argument])
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
