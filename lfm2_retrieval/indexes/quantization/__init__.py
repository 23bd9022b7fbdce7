"""Centroids and product quantizers: trained, and applied to vectors."""
