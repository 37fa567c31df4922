"""The shared channels: one core without I/O, and around it the same shell for sync and aio."""
