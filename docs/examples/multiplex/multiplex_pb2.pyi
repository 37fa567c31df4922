# The types of the generated messages, as far as the examples use them.

class HelloRequest:
    name: str
    def __init__(self, *, name: str = ...) -> None: ...

class HelloReply:
    message: str
    def __init__(self, *, message: str = ...) -> None: ...

class Words:
    text: str
    def __init__(self, *, text: str = ...) -> None: ...
