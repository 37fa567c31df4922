import grpc_guard
from grpc_guard.demo import RouteGuide, RouteNote, serving

with serving(RouteGuide(), mode="off") as (stub,), grpc_guard.Sender[RouteNote]() as sender:
    answers = grpc_guard.Receiver(stub.RouteChat(sender))  # the sender is the request iterator
    sender.send(RouteNote(message="hello"))  # from any number of threads
    print(answers.receive(timeout=5).message)  # prints: the ranger has read: hello
