"""What a crowd on one registry leaves behind: ``python -m benchmarks.crowds [--runs N] [CROWD ...]``.

It counts, and takes no times: 64 threads, and then 500 tasks, take a lease, make a unary RPC and
close the lease, 200 times each; several runs in one process, each with its own registry. For
comparison it does the same on one plain channel that all share: what grows there too is not due to
the registry. The server is another process, and counts the connections of the RPCs.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio

import grpc_guard
import grpc_guard.aio

THREADS, TASKS, ROUNDS, RUNS = 64, 500, 200, 3
_PATIENCE = 60  # seconds
_SERVICE = "benchmark.Crowd"
_UNARY, _SEEN = f"/{_SERVICE}/Unary", f"/{_SERVICE}/Seen"
_COLUMNS = (
    "RPCs",
    "errors",
    "connections at a time",
    "connections in all",
    "descriptors",
    "threads",
    "objects of grpc_guard",
    "objects in all",
    "resident memory",
)
_MUST_COME_BACK = ("descriptors", "threads", "objects of grpc_guard")


# The server


class _Seen:
    """The connections by which RPCs have come."""

    def __init__(self) -> None:
        self._alive: Counter[str] = Counter()
        self._peers: set[str] = set()
        self._most = 0

    async def unary(self, request: bytes, context: Any) -> bytes:
        peer = context.peer()
        self._peers.add(peer)
        self._alive[peer] += 1
        self._most = max(self._most, len(+self._alive))
        await asyncio.sleep(0)
        self._alive[peer] -= 1
        return request

    async def seen(self, request: bytes, context: Any) -> bytes:
        """Tell how many there were at a time and in all, and begin anew."""
        told = json.dumps([self._most, len(self._peers)]).encode()
        self._most, self._peers = 0, set()
        return told


async def _serve() -> None:
    seen = _Seen()
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(seen.unary),
        "Seen": grpc.unary_unary_rpc_method_handler(seen.seen),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the client closes it
    await server.stop(None)


@contextlib.contextmanager
def _serving() -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.crowds", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield f"127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.wait(_PATIENCE)
        server.stdout.close()


# The crowds


def _threads(target: str, rounds: int, *, shared: bool) -> int:
    """Return how many RPCs went wrong."""
    with contextlib.ExitStack() as stack:
        if shared:
            registry = stack.enter_context(grpc_guard.ChannelRegistry())
            one_round = _round(lambda: registry.get(target))
        else:
            channel = stack.enter_context(grpc.insecure_channel(target))
            one_round = _round(lambda: contextlib.nullcontext(channel))
        begin = threading.Barrier(THREADS)

        def party() -> int:
            begin.wait(_PATIENCE)
            return sum(one_round() for _ in range(rounds))

        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            parties = [pool.submit(party) for _ in range(THREADS)]
        errors = sum(each.result() for each in parties)
        if shared:
            errors += len(registry.snapshot())
            cleanup = registry._cleanup.thread
            if cleanup is not None:
                cleanup.join(_PATIENCE)
    return errors


def _round(open_channel: Callable[[], Any]) -> Callable[[], bool]:
    def one_round() -> bool:
        try:
            with open_channel() as channel:
                answer: bytes = channel.unary_unary(_UNARY)(b"a")
        except Exception as error:
            print(repr(error), file=sys.stderr)
            return True
        return answer != b"a"

    return one_round


def _tasks(target: str, rounds: int, *, shared: bool) -> int:
    """Return how many RPCs went wrong."""
    return asyncio.run(_in_tasks(target, rounds, shared=shared))


async def _in_tasks(target: str, rounds: int, *, shared: bool) -> int:
    async with contextlib.AsyncExitStack() as stack:
        if shared:
            registry = await stack.enter_async_context(grpc_guard.aio.ChannelRegistry())
        else:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(target))

        async def one_round() -> bool:
            try:
                if shared:
                    async with registry.get(target) as lease:
                        answer = await lease.unary_unary(_UNARY)(b"a")
                else:
                    answer = await channel.unary_unary(_UNARY)(b"a")
            except Exception as error:
                print(repr(error), file=sys.stderr)
                return True
            return bool(answer != b"a")

        async def party() -> int:
            return sum([await one_round() for _ in range(rounds)])

        errors = sum(await asyncio.gather(*(party() for _ in range(TASKS))))
        return errors + (len(registry.snapshot()) if shared else 0)


_CROWDS = {"threads": (_threads, THREADS), "tasks": (_tasks, TASKS)}


# What is left


def _standing() -> dict[str, int]:
    gc.collect()
    objects = gc.get_objects()
    ours = sum(str(type(thing).__module__).startswith("grpc_guard") for thing in objects)
    return {
        "descriptors": len(_listed("/proc/self/fd")),
        "threads": threading.active_count(),
        "objects of grpc_guard": ours,
        "objects in all": len(objects),
        "resident memory": _resident(),
    }


def _listed(folder: str) -> list[Path]:
    return list(Path(folder).iterdir()) if Path(folder).exists() else []  # of Linux


def _resident() -> int:
    """Return the resident memory in kB, 0 if this system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def _seen(target: str) -> list[int]:
    alone = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, options=alone) as channel:
        told: list[int] = json.loads(channel.unary_unary(_SEEN)(b""))
    return told


def _measure(crowd: str, *, shared: bool, rounds: int, runs: int) -> bool:
    """Print a line for each run; return whether later runs leave no more than the first.

    The first run may leave what is made once: it is what the others are compared with.
    """
    run, size = _CROWDS[crowd]
    title = f"{size} {crowd}, {'a registry' if shared else 'a plain channel'}"
    with _serving() as target:
        _seen(target)
        standings = [_standing()]
        failed = 0
        for number in range(1, runs + 1):
            errors = run(target, rounds, shared=shared)
            most, peers = _seen(target)
            before, after = standings[-1], _standing()
            standings.append(after)
            failed += errors
            growth = {name: after[name] - before[name] for name in after}
            figures = {
                "RPCs": size * rounds,
                "errors": errors,
                "connections at a time": most,
                "connections in all": peers,
                **{name: f"{change:+}" for name, change in growth.items()},
            }
            cells = " | ".join(f"{figures[name]:>8}" for name in _COLUMNS)
            print(f"| {title}, run {number} | {cells} |", flush=True)
    first, later = standings[1], standings[2:] or standings[1:]
    # The lowest count: gRPC sometimes closes a socket a little later, while a leak only grows.
    left = {name: min(after[name] for after in later) for name in _MUST_COME_BACK}
    return not failed and all(left[name] <= first[name] for name in left)


def main() -> None:
    """Run the crowds that the command line names, each in a separate process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowds")
    parser.add_argument(
        "crowds", nargs="*", metavar="CROWD", help=f"{', '.join(_CROWDS)}; default: all"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each party; {ROUNDS}")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"in one process; {RUNS}")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--alone", choices=("registry", "plain"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(_serve())
        return
    if arguments.alone:
        (crowd,) = arguments.crowds
        is_clean = _measure(
            crowd,
            shared=arguments.alone == "registry",
            rounds=arguments.rounds,
            runs=arguments.runs,
        )
        sys.exit(not is_clean)
    for name in arguments.crowds:
        if name not in _CROWDS:
            parser.error(f"{name!r} is no crowd; choose from {', '.join(_CROWDS)}")
    print(f"| | {' | '.join(_COLUMNS)} |")
    print(f"|---|{'---|' * len(_COLUMNS)}", flush=True)
    sizes = ["--rounds", str(arguments.rounds), "--runs", str(arguments.runs)]
    failed = [
        subprocess.call([sys.executable, "-m", "benchmarks.crowds", crowd, "--alone", on, *sizes])
        for crowd in arguments.crowds or _CROWDS
        for on in ("plain", "registry")
    ]
    sys.exit(any(failed))


if __name__ == "__main__":
    main()
