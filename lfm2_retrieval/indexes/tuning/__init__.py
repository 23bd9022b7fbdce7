"""Recall and time of settings, and the fastest that finds enough."""
