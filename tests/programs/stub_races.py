"""A program of generated code and names imported from grpc, sync and asyncio.

`main(wrap)` may guard channels and servers by hand.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from grpc import aio, insecure_channel, server
from grpc_guard._cli.demo import route_guide_pb2_grpc
from grpc_guard._cli.demo.route_guide_pb2 import Point, RouteNote, RouteSummary

from aio_races import both, read
from sync_races import PATIENCE, attempt


class Guide(route_guide_pb2_grpc.RouteGuideServicer):
    def __init__(self):
        self.kept = None

    def RouteChat(self, request_iterator, context):  # noqa: N802
        return request_iterator

    def RecordRoute(self, request_iterator, context):  # noqa: N802
        self.kept = request_iterator
        return RouteSummary(point_count=len(list(request_iterator)))


def shared_notes(stub):
    go = threading.Event()

    def notes():
        assert go.wait(PATIENCE)
        yield RouteNote(message="a")

    generator = notes()
    chat = stub.RouteChat(generator, timeout=PATIENCE)
    second = attempt(stub.RouteChat, generator)
    go.set()
    print("shared generator", second, [note.message for note in chat])


async def two_readers(address, wrap):
    async with wrap(aio.insecure_channel(address)) as channel:
        chat = route_guide_pb2_grpc.RouteGuideStub(channel).RouteChat(timeout=PATIENCE)
        await chat.write(RouteNote(message="a"))
        print("two readers", [type(item).__name__ for item in await both(read(chat), read(chat))])
        await chat.done_writing()
        print("then", await chat.read() is aio.EOF)


def main(wrap=lambda obj: obj):
    with ThreadPoolExecutor(4) as pool:
        guide, servicer = wrap(server(pool)), Guide()
        route_guide_pb2_grpc.add_RouteGuideServicer_to_server(servicer, guide)
        port = guide.add_insecure_port("127.0.0.1:0")
        guide.start()
        with wrap(insecure_channel(f"127.0.0.1:{port}")) as channel:
            stub = route_guide_pb2_grpc.RouteGuideStub(channel)
            shared_notes(stub)
            stub.RecordRoute(iter([Point(latitude=1)]), timeout=PATIENCE)
            print("kept stream", attempt(next, servicer.kept))
        asyncio.run(two_readers(f"127.0.0.1:{port}", wrap))
        guide.stop(None).wait()


if __name__ == "__main__":
    main()
