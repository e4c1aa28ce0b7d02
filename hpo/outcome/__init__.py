"""Finishes studies: confirms the best on fresh seeds, retrains, tests once, saves."""
