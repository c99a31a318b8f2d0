"""Memories and their images; nested address loops."""
