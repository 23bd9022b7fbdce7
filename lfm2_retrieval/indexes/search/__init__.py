"""From a question to hits in one snapshot."""
