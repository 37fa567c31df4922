"""Uses a server's stream, long after its handler has ended, while the interpreter shuts down."""

import atexit
import concurrent.futures
import contextlib
import threading

import grpc

kept = []


def total(requests, context):
    kept.append(requests)
    return b"%d" % len(list(requests))


class Service(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        return grpc.stream_unary_rpc_method_handler(total)


def in_exit_handler():
    with contextlib.suppress(RuntimeError):
        next(kept[0])


def in_thread(main):
    main.join()
    with contextlib.suppress(RuntimeError):
        next(kept[0])


class Late:
    def __init__(self, stream):
        self._stream = stream

    def __del__(self):
        with contextlib.suppress(RuntimeError):
            next(self._stream)


with concurrent.futures.ThreadPoolExecutor(2) as pool:
    server = grpc.server(pool, handlers=(Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        print(channel.stream_unary("/test.Program/Total")(iter([b"a", b"b"]), timeout=20))
    server.stop(None).wait()
late = Late(kept[0])
atexit.register(in_exit_handler)
threading.Thread(target=in_thread, args=[threading.current_thread()]).start()
