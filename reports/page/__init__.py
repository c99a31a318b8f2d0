"""The report that a person reads, and its pictures."""
