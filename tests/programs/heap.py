"""A program that is refused again and again, and forks; it says how often its heap was walked."""

import concurrent.futures
import gc
import os
import threading

import grpc
import grpc_guard

walks = []
plain = gc.get_objects
gate = threading.Event()


def slow(request, context):
    gate.wait(20)
    yield request


def get_objects(*args, **options):
    walks.append(os.getpid())
    return plain(*args, **options)


handlers = {"Get": grpc.unary_stream_rpc_method_handler(slow)}
server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Heap", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
call = channel.unary_stream("/test.Heap/Get")(b"")
reader = threading.Thread(target=next, args=(call,))
reader.start()
while grpc_guard.status(call).read is None:
    pass  # the reader will be inside in a moment


def refuse():
    try:
        next(call)
    except grpc_guard.ConcurrencyError:
        return
    raise AssertionError("not refused")


def said_by_a_child():
    """Return what a child says of its walks: grpcio, whose threads were not forked, ends some of them."""
    for _ in range(50):
        ours, its = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(its, b"%d" % len(walks))
            os._exit(0)
        os.close(its)
        os.waitpid(pid, 0)
        said = os.read(ours, 10).decode()
        os.close(ours)
        if said:
            return said
    return "nothing"


refuse()  # composes the report
gc.get_objects = get_objects
for _ in range(999):
    refuse()
in_child = said_by_a_child()
gc.get_objects = plain
print(f"{in_child} in the child, {len(walks)} in all", flush=True)
gate.set()
reader.join(20)
channel.close()
server.stop(None).wait(20)
