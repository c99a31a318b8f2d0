"""The host side of an engine: what software writes and reads, in C and in Python."""
