"""From sums to features: requantise, thresholds, and what stands in front of the first layer."""
