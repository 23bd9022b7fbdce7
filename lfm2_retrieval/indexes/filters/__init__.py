"""Filters on metadata: what callers write, as conditions on a document and as SQL on declared fields."""
