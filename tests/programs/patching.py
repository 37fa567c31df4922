"""Patches the standard library before it imports grpc, as programs with gevent do."""

import sys

assert "grpc" not in sys.modules

import socket  # noqa: E402


class Patched(socket.socket):
    """In place of the standard one."""


socket.socket = Patched

import grpc  # noqa: E402
from grpc_guard import is_enabled  # noqa: E402

print(grpc.__name__, is_enabled())
print(any("grpc_guard" in type(finder).__module__ for finder in sys.meta_path))
print(sorted(set(vars(grpc.__spec__.loader)) - {"name", "path"}))
