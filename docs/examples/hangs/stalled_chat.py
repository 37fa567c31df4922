"""A chat whose member bob has stopped reading: asked from outside who is held up by that."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

import grpc_guard

grpc_guard.enable(inspect=True)

PHOTO = bytes(1 << 20)  # more than fits on its way to somebody who does not read
members: dict[str, Any] = {}


async def join(requests: AsyncIterator[bytes], context: Any) -> None:
    name = dict(context.invocation_metadata())["name"]
    members[name] = context
    await context.send_initial_metadata(())
    async for message in requests:
        for member in list(members.values()):
            await member.write(message)  # waits for the slowest of all


async def read(call: AsyncIterator[bytes]) -> None:
    async for _ in call:
        pass


async def speak(call: Any, enough: asyncio.Event) -> None:
    while not enough.is_set():
        await call.write(PHOTO)


async def ask(*arguments: str) -> None:
    """Do what somebody at a terminal would."""
    print("$ grpc-guard", *arguments)
    command = (sys.executable, "-m", "grpc_guard", *arguments)
    asked = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    print((await asked.communicate())[0].decode())


async def main() -> None:
    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Join": grpc.stream_stream_rpc_method_handler(join)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("chat.Chat", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls: dict[str, Any] = {}
        tasks: list[asyncio.Task[None]] = []
        for name in ("ann", "bob", "carl"):
            calls[name] = channel.stream_stream("/chat.Chat/Join")(metadata=(("name", name),))
            await calls[name].initial_metadata()
            if name != "bob":  # who has joined, and never reads
                tasks.append(asyncio.create_task(read(calls[name]), name=f"{name} reads"))
        enough = asyncio.Event()
        tasks.append(asyncio.create_task(speak(calls["ann"], enough), name="ann speaks"))
        await asyncio.sleep(2)

        pid = str(os.getpid())
        await ask("ps")
        await ask("dump", pid)
        await ask("top", pid, "--count", "1")

        enough.set()
        tasks.append(asyncio.create_task(read(calls["bob"])))  # and all goes on
        await tasks[-2]
        await calls["ann"].done_writing()  # the listeners end after the last note
        await tasks[0]
        for name in ("bob", "carl"):
            await calls[name].done_writing()
        await asyncio.gather(*tasks)
    await server.stop(None)


with tempfile.TemporaryDirectory() as folder:  # so that ps lists no other process
    os.environ.pop("XDG_RUNTIME_DIR", None)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    asyncio.run(main())
    grpc_guard.disable()
