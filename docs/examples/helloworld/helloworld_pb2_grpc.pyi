# The types of the generated stub and servicer: each serves grpc and grpc.aio alike.
from typing import Any

class GreeterStub:
    SayHello: Any
    def __init__(self, channel: object) -> None: ...

class GreeterServicer:
    def SayHello(self, request: Any, context: Any, /) -> Any: ...

def add_GreeterServicer_to_server(servicer: GreeterServicer, server: object) -> None: ...
