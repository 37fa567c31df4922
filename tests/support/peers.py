"""The two sides of test_processes.py, each a program of its own.

    python peers.py CERTIFICATES server sync guarded correct
    python peers.py CERTIFICATES client aio plain broken PORT

Each prints one JSON document per line. The server's first line is its port, and it serves
until its standard input ends; the last line of both is what their guard has found.
"""

from __future__ import annotations

import asyncio
import gc
import json
import queue
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import StringValue as Text

import grpc_guard
from support.staging import PATIENCE, in_thread, inside_grpc, settle, wait

SERVICE = "test.Peers"
SHAPES = {
    "Greet": "unary_unary",
    "Release": "unary_unary",
    "Count": "unary_stream",
    "Hold": "unary_stream",
    "Join": "stream_unary",
    "Chat": "stream_stream",
    "Break": "stream_stream",
}
WORDS = ["one", "two", "three", "four", "five"]
NUMBERS = ["0", "1", "2", "3", "4"]


def say(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def texts(values: Any) -> list[str]:
    return [text.value for text in values]


def refused(error: grpc_guard.ConcurrencyError) -> list[str]:
    return [error.finding.rule.name, error.finding.side, error.finding.api]


# Servers


class Service:
    """Handlers of a sync server."""

    def __init__(self) -> None:
        self._go = threading.Event()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            name: getattr(grpc, f"{shape}_rpc_method_handler")(
                getattr(self, name.lower() if name != "Break" else "break_rule"),
                request_deserializer=Text.FromString,
                response_serializer=Text.SerializeToString,
            )
            for name, shape in SHAPES.items()
        }

    def greet(self, request: Text, context: Any) -> Text:
        identities = [identity.decode() for identity in context.peer_identities()]
        return Text(value=f"hello {request.value}, {context.peer_identity_key()} {identities}")

    def release(self, request: Text, context: Any) -> Text:
        self._go.set()
        return request

    def count(self, request: Text, context: Any) -> Iterator[Text]:
        for number in range(int(request.value)):
            yield Text(value=str(number))

    def hold(self, request: Text, context: Any) -> Iterator[Text]:
        wait(self._go)
        yield from self.count(request, context)

    def join(self, requests: Iterator[Text], context: Any) -> Text:
        return Text(value=" ".join(texts(requests)))

    def chat(self, requests: Iterator[Text], context: Any) -> Iterator[Text]:
        for request in requests:
            yield Text(value=request.value.upper())

    def break_rule(self, requests: Iterator[Text], context: Any) -> Iterator[Text]:
        """Read in two threads at a time; tell what the second one got, and then the first."""
        owner = inside_grpc(texts, requests, name="owner")
        try:
            next(requests)
        except grpc_guard.ConcurrencyError as error:
            yield Text(value=json.dumps(refused(error)))
        yield Text(value=json.dumps(owner.result()))


class AioService(Service):
    """Handlers of an aio server."""

    def __init__(self) -> None:
        self._released = asyncio.Event()

    async def greet(self, request: Text, context: Any) -> Text:
        return super().greet(request, context)

    async def release(self, request: Text, context: Any) -> Text:
        self._released.set()
        return request

    async def count(self, request: Text, context: Any) -> AsyncIterator[Text]:
        for number in range(int(request.value)):
            yield Text(value=str(number))

    async def hold(self, request: Text, context: Any) -> AsyncIterator[Text]:
        await asyncio.wait_for(self._released.wait(), PATIENCE)
        async for number in self.count(request, context):
            yield number

    async def join(self, requests: AsyncIterator[Text], context: Any) -> Text:
        return Text(value=" ".join([request.value async for request in requests]))

    async def chat(self, requests: AsyncIterator[Text], context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(Text(value=request.value.upper()))

    async def break_rule(self, requests: AsyncIterator[Text], context: Any) -> AsyncIterator[Text]:
        """Read in two tasks at a time; tell what the second one got, and then the first."""

        async def read_all() -> list[str]:
            return [request.value async for request in requests]

        owner = asyncio.create_task(read_all(), name="owner")
        await settle()
        try:
            await context.read()
        except grpc_guard.ConcurrencyError as error:
            yield Text(value=json.dumps(refused(error)))
        yield Text(value=json.dumps(await owner))


def identity(certificates: Path) -> dict[str, Any]:
    return {
        name: (certificates / f"{name}.pem").read_bytes()
        for name in ("root_certificates", "private_key", "certificate_chain")
    }


def listen(server: Any, certificates: Path) -> None:
    parts = identity(certificates)
    credentials = grpc.ssl_server_credentials(
        [(parts["private_key"], parts["certificate_chain"])],
        parts["root_certificates"],
        require_client_auth=True,
    )
    say({"port": server.add_secure_port("127.0.0.1:0", credentials)})


def serve(certificates: Path, mode: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        server = grpc_guard.wrap(grpc.server(pool), mode=mode)
        server.add_registered_method_handlers(SERVICE, Service().handlers())
        listen(server, certificates)
        server.start()
        sys.stdin.read()
        wait(server.stop(None))


async def serve_async(certificates: Path, mode: str) -> None:
    server = grpc_guard.wrap(grpc.aio.server(), mode=mode)
    handlers = AioService().handlers()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    listen(server, certificates)
    await server.start()
    await in_thread(sys.stdin.read).as_future()
    await server.stop(None)


# Clients


class Stub:
    """What generated code would make."""

    def __init__(self, channel: Any) -> None:
        for name, shape in SHAPES.items():
            options = {
                "request_serializer": Text.SerializeToString,
                "response_deserializer": Text.FromString,
            }
            method = getattr(channel, shape)(f"/{SERVICE}/{name}", **options)
            setattr(self, name, method)


def keep_the_contract(stub: Any) -> None:
    words = [Text(value=word) for word in WORDS]
    say(stub.Greet(words[0]).value)
    say(texts(stub.Count(Text(value="5"))))
    say(stub.Join(iter(words)).value)
    say(stub.Join.future(iter(words)).result().value)
    # Full duplex: a thread reads while gRPC's own advances the requests.
    outgoing: queue.SimpleQueue[Text | None] = queue.SimpleQueue()
    call = stub.Chat(iter(outgoing.get, None))
    reader = in_thread(texts, call)
    for word in (*words, None):
        outgoing.put(word)
    say(reader.result())
    # Two threads read one stream, one at a time.
    call, lock, read = stub.Count(Text(value="100")), threading.Lock(), []

    def take() -> None:
        while True:
            with lock:
                message = next(call, None)
                if message is None:
                    return
                read.append(message.value)

    for party in [in_thread(take) for _ in range(2)]:
        party.result()
    say(read)


def break_the_contract(stub: Any) -> None:
    call = stub.Hold(Text(value="5"))
    owner = inside_grpc(texts, call, name="owner")
    try:
        say(next(call).value)
    except grpc_guard.ConcurrencyError as error:
        say(refused(error))
    stub.Release(Text())
    say(owner.result())


def let_the_server_break_it(stub: Any) -> None:
    outgoing: queue.SimpleQueue[Text | None] = queue.SimpleQueue()
    call = stub.Break(iter(outgoing.get, None))
    say(json.loads(next(call).value))
    for word in WORDS:
        outgoing.put(Text(value=word))
    outgoing.put(None)
    say(json.loads(next(call).value))


async def keep_the_contract_async(stub: Any) -> None:
    words = [Text(value=word) for word in WORDS]

    async def take_all(call: Any) -> list[str]:
        return [message.value async for message in call]

    say((await stub.Greet(words[0])).value)
    say(await take_all(stub.Count(Text(value="5"))))
    say((await stub.Join(words)).value)
    say((await stub.Join(iter(words))).value)
    # Full duplex: a task reads while another writes.
    call = stub.Chat()
    reader = asyncio.create_task(take_all(call))
    for word in words:
        await call.write(word)
    await call.done_writing()
    say(await reader)
    # Two tasks read one stream, one at a time.
    call, lock, read = stub.Count(Text(value="100")), asyncio.Lock(), []

    async def take() -> None:
        while True:
            async with lock:
                message = await call.read()
                if message is grpc.aio.EOF:
                    return
                read.append(message.value)

    await asyncio.gather(take(), take())
    say(read)


async def break_the_contract_async(stub: Any) -> None:
    call = stub.Hold(Text(value="5"))

    async def take_all() -> list[str]:
        return [message.value async for message in call]

    owner = asyncio.create_task(take_all(), name="owner")
    await settle()
    try:
        say((await call.read()).value)
    except grpc_guard.ConcurrencyError as error:
        say(refused(error))
    await stub.Release(Text())
    say(await owner)


async def let_the_server_break_it_async(stub: Any) -> None:
    call = stub.Break()
    say(json.loads((await call.read()).value))
    for word in WORDS:
        await call.write(Text(value=word))
    await call.done_writing()
    say(json.loads((await call.read()).value))


ACTS: dict[str, tuple[Any, Any]] = {
    "correct": (keep_the_contract, keep_the_contract_async),
    "broken": (break_the_contract, break_the_contract_async),
    "broken-server": (let_the_server_break_it, let_the_server_break_it_async),
}


def call(certificates: Path, mode: str, act: str, port: str) -> None:
    credentials = grpc.ssl_channel_credentials(**identity(certificates))
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        ACTS[act][0](Stub(grpc_guard.wrap(channel, mode=mode)))


async def call_async(certificates: Path, mode: str, act: str, port: str) -> None:
    credentials = grpc.ssl_channel_credentials(**identity(certificates))
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        await ACTS[act][1](Stub(grpc_guard.wrap(channel, mode=mode)))


def main(certificates: str, role: str, api: str, mode: str, *rest: str) -> None:
    sides = {
        ("server", "sync"): serve,
        ("server", "aio"): serve_async,
        ("client", "sync"): call,
        ("client", "aio"): call_async,
    }
    ran = sides[role, api](Path(certificates), mode, *rest)
    if ran is not None:
        asyncio.run(ran)
        gc.collect()  # an older grpcio hangs in its finalizers when the interpreter shuts down
    say([[found.rule.name, found.side, found.api, found.rpc] for found in grpc_guard.findings()])


if __name__ == "__main__":
    main(*sys.argv[1:])
