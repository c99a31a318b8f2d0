"""What arrays of each kernel cost, and what papers say of theirs."""
