"""The formats of a report: one module for each, and nothing else in this folder.

A format is a module with ``name``, ``suffixes`` and ``render(report) -> str``, as
``writing.ReportFormat`` says; ``writing.FORMATS`` lists them.
"""
