"""Streams: queues, converters of width, forks, delays, packets."""
