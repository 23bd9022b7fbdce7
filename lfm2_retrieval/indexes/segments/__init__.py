"""Segments: folders of arrays, written once, then memory-mapped."""
