"""Segments compressed and merged, and when that pays."""
