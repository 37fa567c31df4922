"""Many threads produce, gRPC takes the requests from a queue."""

import queue
from threading import Thread

from grpc_guard.demo import RouteGuide, RouteNote, serving

Notes = queue.Queue[RouteNote | None]  # None is the end


def produce(notes: Notes, name: str) -> None:
    for number in range(3):
        notes.put(RouteNote(message=f"{name}, note {number}"))


with serving(RouteGuide(), mode="off") as (stub,):
    notes = Notes()
    chat = stub.RouteChat(iter(notes.get, None))  # ends at the first None
    producers = [Thread(target=produce, args=[notes, name]) for name in ("Ann", "Ben")]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    notes.put(None)  # in every case: without it gRPC's thread waits for ever
    answers = list(chat)

print("answers:", len(answers))
