"""Power from counted activity, and energies as published."""
