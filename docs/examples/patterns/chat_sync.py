"""A chat: every handler has a Sender, and the handler that gets a note sends it to all of them.

A member that does not read loses the oldest messages, and holds up nobody.
"""

from collections.abc import Iterator
from threading import Lock, Thread
from typing import Any

from grpc_guard import Sender, StreamEnded
from grpc_guard.demo import RouteGuide, RouteNote, serving


class Hut(RouteGuide):
    def __init__(self) -> None:
        self.members: list[Sender[RouteNote]] = []
        self.turn = Lock()

    def RouteChat(self, notes: Iterator[RouteNote], context: Any) -> Iterator[RouteNote]:
        sender = Sender[RouteNote](context, when_full="drop_oldest")
        with self.turn:
            self.members.append(sender)
        Thread(target=self.listen, args=[notes, sender]).start()
        return sender  # gRPC takes from it what all the others send

    def listen(self, notes: Iterator[RouteNote], sender: Sender[RouteNote]) -> None:
        try:
            for note in notes:
                self.tell(note)
        finally:  # the member has half-closed, or left
            with self.turn:
                self.members.remove(sender)
            sender.close()

    def tell(self, note: RouteNote) -> None:
        with self.turn:
            members = list(self.members)
        for member in members:
            try:
                member.send(note)
            except StreamEnded:
                pass  # has just left


with serving(Hut(), mode="off", clients=3) as stubs:
    senders = [Sender[RouteNote]() for stub in stubs]
    chats = [stub.RouteChat(sender) for stub, sender in zip(stubs, senders, strict=True)]
    for sender, chat in zip(senders, chats, strict=True):
        sender.send(RouteNote(message="here"))
        next(chat)  # one's own: from now on this member is in
    senders[0].send(RouteNote(message="hello"))
    for name, chat in zip(("Ann", "Ben"), chats[:2], strict=True):  # the third does not read
        print(f"{name} reads:", next(note.message for note in chat if note.message == "hello"))
    for sender in senders:
        sender.close()
    for chat in chats:
        list(chat)
