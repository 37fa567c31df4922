"""A conversation beside an agent, and a race if the guard is on: chat.py AGENT ORDER.

ORDER: `first` or `last`: enable() before or after the agent is switched on; `never`: without, unless
the launcher has switched the guard on; `launched`: that, and the agent is on as well.
Prints as JSON what it saw, with threads and with asyncio, what spans the agent ended, and what
the guard found in the race.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import setups

agent, order = sys.argv[1:]

if order == "first":
    import grpc_guard

    grpc_guard.enable()
if order != "launched":
    setups.AGENTS[agent][0]()
spans = setups.AGENTS[agent][1]()
if order == "last":
    import grpc_guard

    grpc_guard.enable()

import grpc  # noqa: E402  # as a program does whose agent was switched on before
import grpc.aio  # noqa: E402

PATIENCE = 20.0  # seconds


def unary(request: bytes, context: Any) -> bytes:
    return b"re:" + request


def numbers(request: bytes, context: Any) -> Any:
    yield from (b"0", b"1", b"2")


def count(requests: Any, context: Any) -> bytes:
    return b"%d" % sum(1 for _ in requests)


def echo(requests: Any, context: Any) -> Any:
    yield from requests


def refuse(request: bytes, context: Any) -> Any:
    yield b"before"
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")


held = threading.Event()


def hold(request: bytes, context: Any) -> Any:
    yield b"first"
    held.wait(PATIENCE)
    yield b"second"


async def aio_unary(request: bytes, context: Any) -> bytes:
    return b"re:" + request


async def aio_numbers(request: bytes, context: Any) -> Any:
    for number in (b"0", b"1", b"2"):
        yield number


async def aio_count(requests: Any, context: Any) -> bytes:
    return b"%d" % len([request async for request in requests])


async def aio_echo(requests: Any, context: Any) -> Any:
    async for request in requests:
        yield request


async def aio_refuse(request: bytes, context: Any) -> Any:
    yield b"before"
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")


async def aio_hold(request: bytes, context: Any) -> Any:
    await asyncio.to_thread(held.wait, PATIENCE)
    yield b"first"
    yield b"second"


def handlers(prefix: str = "") -> Any:
    names = globals()
    return grpc.method_handlers_generic_handler(
        "test.Chat",
        {
            "Unary": grpc.unary_unary_rpc_method_handler(names[f"{prefix}unary"]),
            "Numbers": grpc.unary_stream_rpc_method_handler(names[f"{prefix}numbers"]),
            "Count": grpc.stream_unary_rpc_method_handler(names[f"{prefix}count"]),
            "Echo": grpc.stream_stream_rpc_method_handler(names[f"{prefix}echo"]),
            "Refuse": grpc.unary_stream_rpc_method_handler(names[f"{prefix}refuse"]),
            "Hold": grpc.unary_stream_rpc_method_handler(names[f"{prefix}hold"]),
        },
    )


def told(error: Any) -> list[str]:
    if isinstance(error, grpc.RpcError):
        return [error.code().name, error.details()]
    return [type(error).__name__]


def drained(call: Any) -> list[Any]:
    seen: list[Any] = []
    try:
        for message in call:
            seen.append(message.decode())
    except Exception as error:
        seen.append(told(error))
    return seen


def converse(channel: Any) -> Any:
    seen: dict[str, Any] = {}
    call = channel.unary_unary("/test.Chat/Unary")
    seen["unary"] = call(b"x").decode()
    seen["with_call"] = [part.decode() if isinstance(part, bytes) else part.code().name
                         for part in call.with_call(b"y")]  # fmt: skip
    seen["future"] = call.future(b"z").result(PATIENCE).decode()
    seen["numbers"] = drained(channel.unary_stream("/test.Chat/Numbers")(b""))
    seen["count"] = channel.stream_unary("/test.Chat/Count")(iter((b"1", b"2"))).decode()
    seen["echo"] = drained(channel.stream_stream("/test.Chat/Echo")(iter((b"1", b"2"))))
    seen["refuse"] = drained(channel.unary_stream("/test.Chat/Refuse")(b""))
    return seen


async def adrained(call: Any) -> list[Any]:
    seen: list[Any] = []
    try:
        async for message in call:
            seen.append(message.decode())
    except Exception as error:
        seen.append(told(error))
    return seen


async def converse_async(channel: Any) -> Any:
    async def requests() -> Any:
        yield b"1"
        yield b"2"

    seen: dict[str, Any] = {}
    seen["unary"] = (await channel.unary_unary("/test.Chat/Unary")(b"x")).decode()
    seen["numbers"] = await adrained(channel.unary_stream("/test.Chat/Numbers")(b""))
    seen["count"] = (await channel.stream_unary("/test.Chat/Count")(requests())).decode()
    seen["echo"] = await adrained(channel.stream_stream("/test.Chat/Echo")(requests()))
    seen["refuse"] = await adrained(channel.unary_stream("/test.Chat/Refuse")(b""))
    return seen


# The race


def first_reader(call: Any) -> Any:
    return next(call)


def second_reader(call: Any) -> Any:
    return next(call)


def race(channel: Any) -> Any:
    entered, go = threading.Event(), threading.Event()

    def park(message: bytes) -> bytes:  # in the reader's thread, inside its next()
        if message == b"first":
            entered.set()
            go.wait(PATIENCE)
        return message

    call = channel.unary_stream("/test.Chat/Hold", response_deserializer=park)(b"")
    outcomes: list[Any] = []

    def run() -> None:
        outcomes.append(drained([first_reader(call)]))

    reader = threading.Thread(target=run)
    reader.start()
    assert entered.wait(PATIENCE)
    try:
        outcomes.append(second_reader(call).decode())
    except Exception as error:
        outcomes.append(told(error))
    go.set()
    held.set()
    reader.join(PATIENCE)
    return outcomes


async def first_task(call: Any) -> Any:
    return await anext(aiter(call))


async def second_task(call: Any) -> Any:
    return await anext(aiter(call))


async def race_async(channel: Any) -> Any:
    call = channel.unary_stream("/test.Chat/Hold")(b"")
    first = asyncio.create_task(first_task(call))
    await asyncio.sleep(0)  # now it is inside: no message comes before `held`
    outcomes: list[Any] = []
    second = asyncio.create_task(second_task(call))
    await asyncio.wait([second], timeout=PATIENCE)
    held.set()
    for task in (first, second):
        try:
            outcomes.append((await task).decode())
        except Exception as error:
            outcomes.append(told(error))
    return outcomes


def with_threads(act: Callable[[Any], Any]) -> Any:
    with futures.ThreadPoolExecutor(8) as pool:  # which waits for the handlers to return
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            seen = act(channel)
        server.stop(None).wait()
    return seen


async def with_asyncio(act: Callable[[Any], Any]) -> Any:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers("aio_"),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        seen = await act(channel)
    await server.stop(None)
    return seen


def found() -> list[Any]:
    """Return what was found since this was last asked: rule, and whose lines."""
    parties = [(finding.rule, finding.owner, finding.caller) for finding in grpc_guard.findings()]
    grpc_guard.clear_findings()
    return [
        [str(rule), *(party and party.site and [party.site.file.rpartition("/")[2],
                      party.site.function] for party in both)]
        for rule, *both in parties
    ]  # fmt: skip


result: dict[str, Any] = {"guarded": False}
ended = 0
for style, conversation in (
    ("sync", lambda: with_threads(converse)),
    ("aio", lambda: asyncio.run(with_asyncio(converse_async))),
):
    if agent == "prometheus" and style == "aio":
        continue  # it has none
    with setups.transaction(agent):
        seen = conversation()
    result[style] = {"seen": seen, "spans": sorted(spans()[ended:], key=repr)}
    ended = len(spans())
grpc_guard: Any = sys.modules.get("grpc_guard")
if grpc_guard is not None and grpc_guard.is_enabled():
    result |= {"guarded": True, "false": found()}
    result["sync race"] = with_threads(race), found()
    if "aio" in result:
        held.clear()
        result["aio race"] = asyncio.run(with_asyncio(race_async)), found()
print("RESULT" + json.dumps(result))
