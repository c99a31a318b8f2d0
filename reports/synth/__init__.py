"""Synthesis, place and route, bitstreams."""
