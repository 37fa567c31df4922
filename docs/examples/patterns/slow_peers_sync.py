"""What to do with a peer that reads too slowly: wait for it, drop the oldest, or part from it."""

import queue

from grpc_guard import Sender
from grpc_guard.demo import RouteNote

notes = [RouteNote(message=str(number)) for number in range(5)]
note = notes[0]  # the one that is sent

waits = Sender[RouteNote](maxsize=2)  # the default: send() waits for room
try:
    for note in notes:
        waits.send(note, timeout=0.01)
except TimeoutError:
    print("wait: not sent:", note.message)

drops = Sender[RouteNote](maxsize=2, when_full="drop_oldest")  # for what is soon out of date
for note in notes:
    drops.send(note)
print("drop_oldest: to be sent:", [note.message for note in drops.unsent()])

fails = Sender[RouteNote](maxsize=2, when_full="fail")  # then cancel the call, or context.cancel()
try:
    for note in notes:
        fails.send(note)
except queue.Full:
    print("fail: too slow at:", note.message)
