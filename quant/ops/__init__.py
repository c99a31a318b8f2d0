"""The operations of a Program."""
