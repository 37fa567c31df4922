"""Asked while it runs: what every live stream, channel and server of the process is doing."""
