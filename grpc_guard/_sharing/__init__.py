"""Many parties on one stream: a core without I/O, and around it the same shell for sync and aio."""
