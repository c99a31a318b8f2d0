"""Programs as files: `.addax`, numpy archives, C."""
