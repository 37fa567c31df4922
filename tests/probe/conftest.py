"""The failures of what these tests share are explained too."""

import pytest

pytest.register_assert_rewrite("probing", "corpus", "scheduling")
