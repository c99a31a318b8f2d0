"""From a Program to what an engine reads: layers, bands of rows, weights in the order of use, transfers, one image."""
