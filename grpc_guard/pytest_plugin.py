"""pytest plugin: a test that breaks gRPC's concurrency contract fails, even if its asserts hold.

Inert unless switched on by ``--grpc-guard[=MODE]``, the ini option ``grpc_guard``, the
environment variable ``GRPC_GUARD`` (in that precedence), the fixture or the marker. Switched
off it does not import grpc.
"""

from ._pytest.plugin import grpc_guard as grpc_guard
from ._pytest.plugin import pytest_addoption as pytest_addoption
from ._pytest.plugin import pytest_configure as pytest_configure
from ._pytest.plugin import pytest_configure_node as pytest_configure_node
from ._pytest.plugin import pytest_fixture_post_finalizer as pytest_fixture_post_finalizer
from ._pytest.plugin import pytest_fixture_setup as pytest_fixture_setup
from ._pytest.plugin import pytest_load_initial_conftests as pytest_load_initial_conftests
from ._pytest.plugin import pytest_report_header as pytest_report_header
from ._pytest.plugin import pytest_runtest_call as pytest_runtest_call
from ._pytest.plugin import pytest_runtest_makereport as pytest_runtest_makereport
from ._pytest.plugin import pytest_runtest_protocol as pytest_runtest_protocol
from ._pytest.plugin import pytest_runtest_setup as pytest_runtest_setup
from ._pytest.plugin import pytest_runtest_teardown as pytest_runtest_teardown
from ._pytest.plugin import pytest_sessionfinish as pytest_sessionfinish
from ._pytest.plugin import pytest_terminal_summary as pytest_terminal_summary
from ._pytest.plugin import pytest_testnodedown as pytest_testnodedown
from ._pytest.plugin import pytest_timeout_cancel_timer as pytest_timeout_cancel_timer
from ._pytest.plugin import pytest_timeout_set_timer as pytest_timeout_set_timer
from ._pytest.plugin import pytest_unconfigure as pytest_unconfigure
