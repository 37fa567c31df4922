"""The command line: ``run``, ``demo``, ``rules`` and ``explain``."""
