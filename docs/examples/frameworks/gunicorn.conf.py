"""How gunicorn serves: gunicorn -c gunicorn.conf.py wsgi:app."""

preload_app = True  # wsgi.py is imported once, before the workers are forked
workers = 2
threads = 4


def post_fork(server: object, worker: object) -> None:
    """Switch the guard on in each worker, before it serves."""
    import grpc_guard

    grpc_guard.enable("warn")
