"""Two chats share one generator of notes, and each RPC sends some of them."""

from collections.abc import Iterator

from grpc_guard.demo import RouteGuide, RouteNote, serving


def notes() -> Iterator[RouteNote]:
    for number in range(20):
        yield RouteNote(message=f"note {number}")


with serving(RouteGuide(), mode="off", clients=2) as (ann, ben):
    shared = notes()
    chats = {}
    for name, stub in (("Ann", ann), ("Ben", ben)):
        try:
            chats[name] = stub.RouteChat(shared)
        except RuntimeError as error:  # the guard's ConcurrencyError is one
            print(name, "got", type(error).__name__)
    for name, chat in chats.items():
        print(name, "got", sum(1 for _ in chat), "answers to 20 notes")
