"""Resources without synthesis: counts of what a design consists of, turned into cells of a device."""
