"""Forks with a live lease: ``forking.py ADDRESS``; prints what parent and child get."""

from __future__ import annotations

import os
import sys
import threading

import grpc_guard

METHOD = "/test.Guard/Unary"
registry = grpc_guard.ChannelRegistry.default()
lease = registry.get(sys.argv[1])
unary = lease.unary_unary(METHOD)
print("parent before:", unary(b"a").decode(), flush=True)
child = os.fork()
if not child:
    try:
        print("child sees:", len(registry.snapshot()), flush=True)
        try:
            unary(b"b")
        except ValueError as error:
            print("child, old lease:", str(error).split(" taken ")[1].split(" by ")[1])
        lease.close()
        del lease, unary
        assert registry is grpc_guard.ChannelRegistry.default()
        with registry.get(sys.argv[1]) as lease:
            print("child, new lease:", lease.unary_unary(METHOD)(b"c").decode())
            names = {thread.name for thread in threading.enumerate()}
            print("child, cleanups:", sum("cleanup" in name for name in names), flush=True)
    finally:
        os._exit(0)
_, status = os.waitpid(child, 0)
print("child ended:", status)
print("parent after:", unary(b"d").decode(), len(registry.snapshot()))
registry.close()
