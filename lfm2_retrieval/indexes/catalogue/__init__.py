"""The catalogue: one SQLite file that says what the index holds."""
