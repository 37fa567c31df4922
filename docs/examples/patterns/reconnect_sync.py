"""The connection breaks: what gRPC had not taken goes first on the next RPC."""

import threading
from collections.abc import Sequence

from grpc_guard import Sender, StreamEnded
from grpc_guard.demo import RouteGuide, RouteGuideStub, RouteNote, serving


class Outbox:
    """Sends on one RPC after another; a message is sent at least once."""

    def __init__(self, stub: RouteGuideStub) -> None:
        self.stub, self.turn = stub, threading.Lock()
        self.connect([])

    def connect(self, unsent: Sequence[RouteNote]) -> None:
        sender = Sender[RouteNote](maxsize=max(16, len(unsent)))
        for note in unsent:  # there is room for all, and no RPC yet that could end
            sender.send(note)
        self.chat = self.stub.RouteChat(sender)
        self.sender = sender

    def send(self, note: RouteNote) -> None:
        while True:
            sender = self.sender
            try:
                return sender.send(note)
            except StreamEnded:  # and `note` was not accepted
                with self.turn:
                    if self.sender is sender:  # nobody else has connected
                        self.connect(sender.unsent())


with serving(RouteGuide(), mode="off") as (stub,):
    outbox = Outbox(stub)
    outbox.send(RouteNote(message="1"))
    outbox.sender.flush()
    outbox.chat.cancel()  # the connection breaks
    for number in range(2, 40):
        outbox.send(RouteNote(message=str(number)))
    outbox.sender.close()
    answers = [answer.message for answer in outbox.chat]

numbers = [int(answer.rsplit(maxsplit=1)[1]) for answer in answers]
assert numbers == list(range(numbers[0], 40)), numbers  # what came before broke with the connection
print("the last:", answers[-1])
