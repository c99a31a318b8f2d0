"""The computing half of an engine: the array with its sums, pools, requantisers, and the walk over a layer."""
