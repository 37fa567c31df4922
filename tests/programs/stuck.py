"""Main joins a thread that reads for ever; with an argument, main ends and waits for it: it is no daemon, or of a pool."""

from __future__ import annotations

import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc_guard

LIFE = 60.0  # seconds: longer than any test waits
gone, first = threading.Event(), threading.Event()


def events(request: bytes, context: Any) -> Any:
    context.add_callback(gone.set)
    yield b"0"
    gone.wait(LIFE)


def consume() -> None:
    try:
        next(call)
        first.set()
        next(call)
    except grpc.RpcError as error:
        print(error.code().name, flush=True)


def say_when_joined(main: int) -> None:
    codes: set[Any] = set()
    while threading.Thread.join.__code__ not in codes:
        frames = traceback.walk_stack(sys._current_frames()[main])
        codes = {frame.f_code for frame, _ in frames}
    print("ready", flush=True)


pool = ThreadPoolExecutor(2)
server = grpc.server(pool)
handlers = {"Events": grpc.unary_stream_rpc_method_handler(events)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Stuck", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
call = channel.unary_stream("/test.Stuck/Events")(b"")
if "pool" in sys.argv:  # as that of a server: who gives it its first work is a daemon
    consumers = ThreadPoolExecutor(1, thread_name_prefix="consumer")
    consumer = threading.Thread(target=consumers.submit, args=[consume], daemon=True)
else:
    consumer = threading.Thread(target=consume, name="consumer", daemon=len(sys.argv) == 1)
consumer.start()
first.wait(LIFE)
while grpc_guard.status(call).read is None:
    pass
if len(sys.argv) == 1:
    threading.Thread(target=say_when_joined, args=[threading.get_ident()], daemon=True).start()
    try:
        consumer.join(LIFE)
    finally:
        call.cancel()
else:
    print("ready", flush=True)
    from grpc_guard._catalogue import cpython_ends
    from grpc_guard._inspect import lingering

    def say(text: str) -> None:
        if "'consumer" not in text:
            return  # the server's own thread, which is waited for as well
        taken = grpc_guard.snapshot()
        kept = [one.text for one in taken.deductions if one.kind == "kept-alive"]
        print(f"{text}\n{taken.program} kept alive: {kept}", flush=True)
        call.cancel()
        server.stop(None)

    if sys.argv[1] == "early":  # as where no thread can be started at the end
        cpython_ends.starts_threads_at_the_end = False
    lingering.watch(say, 0.1)
