"""Brings the guard into a Python process, then steps aside for the sitecustomize it hides.

The second way in, beside grpc_guard.pth: for an interpreter that finds grpc_guard by PYTHONPATH
only. It also runs where grpc_guard is not installed, to report a process that uses grpc there.
"""


def _grpc_guard_start() -> None:
    import os

    folder = os.environ.get("GRPC_GUARD_SPOOL")
    if folder is None:
        return
    try:
        from grpc_guard._cli.run import child
    except ImportError:
        import atexit

        atexit.register(_grpc_guard_absent, folder)
    else:
        child.start()


def _grpc_guard_absent(folder: str) -> None:
    """Tell the launcher, at exit, if this process spoke gRPC."""
    import json
    import os
    import sys
    import time

    if hasattr(sys.modules.get("grpc"), "insecure_channel") and os.path.isdir(folder):
        event = {
            "streams": 0,
            "operations": 0,
            "ended": True,
            "unguarded": f"grpc_guard is not installed for {sys.executable}",
        }
        name = f"{time.time_ns()}-{os.getpid()}.jsonl"
        with open(os.path.join(folder, name), "x", encoding="utf-8") as file:
            json.dump(event, file)


def _grpc_guard_step_aside() -> None:
    """Import the sitecustomize that this one hides, as if this one were not there."""
    import os
    import sys

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    # Another launcher's sitecustomize may load this one in its own place.
    replaced = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        caller = sys._getframe(1)
        while caller.f_back and caller.f_code.co_filename in (__file__, *_GRPC_GUARD_IMPORTING):
            caller = caller.f_back
        is_asked_by_python = caller.f_code.co_name == "execsitecustomize"
        if is_asked_by_python or error.name != "sitecustomize":
            raise  # so that Python learns that there is no other one
        sys.modules["sitecustomize"] = replaced


_GRPC_GUARD_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")

_grpc_guard_start()
_grpc_guard_step_aside()
