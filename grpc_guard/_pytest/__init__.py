"""The pytest plugin: plugin.py has its hooks, session.py what they decide."""
