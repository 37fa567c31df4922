"""Findings for readers outside the process: JSON, SARIF and text."""
