"""Programs that are run, and what a result came from."""
