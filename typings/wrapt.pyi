# The part of wrapt that grpc_guard uses; wrapt itself has no type hints.
from collections.abc import Callable
from typing import Any

class BaseObjectProxy:
    __wrapped__: Any
    def __init__(self, wrapped: object) -> None: ...

class FunctionWrapper(BaseObjectProxy):
    def __init__(self, wrapped: object, wrapper: Callable[..., Any]) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
