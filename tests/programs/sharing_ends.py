"""Senders and receivers at a fork, and at the end of the interpreter; the argument says which."""

import os
import sys
import threading

import grpc
from grpc_guard import Receiver, Sender, StreamEnded


def at_fork() -> None:
    """In the child everything has ended, even if a lock was held; the parent goes on."""
    sender, receiver = Sender[int](), Receiver(iter([1, 2]))
    sender.send(1)
    with sender._mutex:  # held by a thread that the child does not have
        child = in_child_of_another_thread(sender, receiver)
    _, status = os.waitpid(child, 0)
    print("child:", os.waitstatus_to_exitcode(status))
    sender.send(2)
    print("parent:", [next(sender), next(sender), receiver.receive()])


def in_child_of_another_thread(sender: Sender[int], receiver: Receiver[int]) -> int:
    made: list[int] = []

    def fork() -> None:
        child = os.fork()
        if child:
            made.append(child)
            return
        status = 1
        try:
            for act in (lambda: sender.send(3), receiver.receive):
                try:
                    act()
                except StreamEnded as end:
                    status = 0 if "forked" in str(end) else 3
                else:
                    status = 2
            assert list(sender) == []
        finally:
            os._exit(status)

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    return made[0]


def at_exit() -> None:
    """gRPC's thread waits in the sender, ours in the call, and the interpreter ends."""
    server = grpc.server(__import__("concurrent.futures").futures.ThreadPoolExecutor(2))
    held = threading.Event()

    def hold(requests: object, context: grpc.ServicerContext) -> object:
        context.add_callback(held.set)
        held.wait(20)
        yield b""

    method = grpc.stream_stream_rpc_method_handler(hold)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", {"M": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    sender = Sender[bytes]()
    receiver = Receiver[bytes](channel.stream_stream("/S/M")(sender))
    sender.send(b"a")
    sender.flush(20)
    try:
        receiver.receive(0.01)
    except TimeoutError:
        print("waiting:", sorted(t.name for t in threading.enumerate() if "grpc_guard" in t.name))
    held.set()


{"fork": at_fork, "exit": at_exit}[sys.argv[1]]()
