"""Races of the sync api, each staged so that it is certain; prints how each of them went.

`main(wrap)` may guard channels and servers by hand.
"""

import concurrent.futures
import contextlib
import os
import sys
import threading

import grpc

PATIENCE = 20
_GRPC = os.path.dirname(grpc.__file__)


def attempt(function, *args):
    try:
        return function(*args)
    except Exception as error:
        return type(error).__name__


def read_beside(iterator, go):
    """Read `iterator` in a thread, and once more while that is inside; then let `go` come."""
    inside = threading.Event()

    def profile(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(_GRPC + os.sep):
            inside.set()

    def read():
        sys.setprofile(profile)
        return list(iterator)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        owner = pool.submit(read)
        assert inside.wait(PATIENCE)
        second = attempt(next, iterator)
        go.set()
        return second, len(owner.result(PATIENCE))


class Service(grpc.GenericRpcHandler):
    def __init__(self):
        self.go = threading.Event()
        self.seen = None

    def service(self, handler_call_details):
        return {
            "Numbers": grpc.unary_stream_rpc_method_handler(self.numbers),
            "Echo": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
            "Total": grpc.stream_unary_rpc_method_handler(self.total),
        }[handler_call_details.method.split("/")[-1]]

    def numbers(self, request, context):
        assert self.go.wait(PATIENCE)
        yield b"a"
        yield b"b"

    def total(self, requests, context):
        self.seen = read_beside(requests, self.go)
        return b"done"


def shared_generator(channel):
    go = threading.Event()

    def requests():
        assert go.wait(PATIENCE)
        yield b"a"

    generator = requests()
    echo = channel.stream_stream("/x/Echo")
    first = echo(generator, timeout=PATIENCE)
    second = attempt(echo, generator)
    go.set()
    return second, len(list(first))


@contextlib.contextmanager
def serving(wrap=lambda obj: obj):
    """Run a server, and yield its service and a channel to it."""
    service = Service()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        server = wrap(grpc.server(pool))
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with wrap(grpc.insecure_channel(f"127.0.0.1:{port}")) as channel:
            yield service, channel
        server.stop(None).wait()


def client_readers(service, channel):
    call = channel.unary_stream("/x/Numbers")(b"", timeout=PATIENCE)
    return read_beside(call, service.go)


def server_readers(service, channel):
    service.go.clear()

    def requests():
        assert service.go.wait(PATIENCE)
        yield b"a"

    channel.stream_unary("/x/Total")(requests(), timeout=PATIENCE)
    return service.seen


def main(wrap=lambda obj: obj):
    with serving(wrap) as (service, channel):
        print("client readers", client_readers(service, channel))
        print("server readers", server_readers(service, channel))
        print("shared generator", shared_generator(channel))


if __name__ == "__main__":
    main()
