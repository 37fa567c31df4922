"""A handler ends while its producers are alive: they are told, and stop."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from typing import Any

from grpc_guard import Sender, StreamEnded
from grpc_guard.demo import RouteGuide, RouteNote, serving


def produce(sender: Sender[RouteNote]) -> StreamEnded:
    try:
        for number in count():
            sender.send(RouteNote(message=str(number)))
    except StreamEnded as end:
        return end
    raise AssertionError("the numbers have no end")


class Busy(RouteGuide):
    def RouteChat(self, notes: Any, context: Any) -> Iterator[RouteNote]:
        sender = Sender[RouteNote](context)
        producers.extend(pool.submit(produce, sender) for _ in range(2))
        yield from islice(sender, 3)  # enough


producers: list[Future[StreamEnded]] = []
with ThreadPoolExecutor(2) as pool, serving(Busy(), mode="off") as (stub,):
    print("answers:", len(list(stub.RouteChat(iter(())))))
    print("told:", {str(producer.result().code) for producer in producers})
