"""The moving half of an engine: commands that fill its queues from memory and write its results there."""
