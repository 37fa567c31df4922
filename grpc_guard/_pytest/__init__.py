"""The parts of the pytest plugin; the hooks are in grpc_guard.pytest_plugin."""
