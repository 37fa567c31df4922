"""The rules about the lives of channels, streams and servers."""
