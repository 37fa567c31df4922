from typing import Any

# Filled and read by name, see messages.py.
Request: Any
Reply: Any
Snapshot: Any
ServerSnapshot: Any
Finding: Any
