"""From a Program to layers of the engine."""
