"""A handler ends while its producers are alive: they are told, and stop."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

from grpc_guard import Sender, StreamEnded
from grpc_guard._cli.demo.route_guide_pb2 import RouteNote
from grpc_guard._cli.demo.service import RouteGuide, serving


def produce(sender):
    for number in count():
        try:
            sender.send(RouteNote(message=str(number)))
        except StreamEnded as end:
            return end


class Busy(RouteGuide):
    def RouteChat(self, notes, context):
        sender = Sender(context)
        producers.extend(pool.submit(produce, sender) for _ in range(2))
        yield from islice(sender, 3)  # enough


producers = []
with ThreadPoolExecutor(2) as pool, serving(Busy(), mode="off") as (stub,):
    print("answers:", len(list(stub.RouteChat(iter(())))))
    print("told:", {producer.result().code.name for producer in producers})
