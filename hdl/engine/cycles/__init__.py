"""The cycle model of an engine: exact under a memory of fixed latency, from event to event."""
