"""Transactions that change an index, and snapshots that read one commit of it."""
