"""Many threads produce into a Sender, which is the request iterator."""

from threading import Thread

from grpc_guard import Sender
from grpc_guard.demo import RouteGuide, RouteNote, serving


def produce(sender: Sender[RouteNote], name: str) -> None:
    for number in range(3):
        sender.send(RouteNote(message=f"{name}, note {number}"))


with serving(RouteGuide(), mode="off") as (stub,):
    with Sender[
        RouteNote
    ]() as sender:  # leaving the block half-closes, after all that was accepted
        chat = stub.RouteChat(sender)
        producers = [Thread(target=produce, args=[sender, name]) for name in ("Ann", "Ben")]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join()
    answers = list(chat)

print("answers:", len(answers))
