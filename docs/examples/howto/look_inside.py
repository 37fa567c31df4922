from queue import SimpleQueue
from threading import Thread

import grpc_guard
from grpc_guard.demo import RouteGuide, RouteNote, serving

notes: SimpleQueue[RouteNote | None] = SimpleQueue()

with serving(RouteGuide(), mode="raise") as (stub,):
    chat = stub.RouteChat(iter(notes.get, None))
    print(grpc_guard.status(chat).read)  # prints: None

    reader = Thread(target=lambda: list(chat), name="reader")
    reader.start()
    owner = grpc_guard.status(chat).read
    if owner is not None:  # the thread is inside
        assert (owner.kind, owner.name) == ("thread", "reader")
    notes.put(None)  # the chat ends
    reader.join()

print(grpc_guard.findings())  # prints: ()
