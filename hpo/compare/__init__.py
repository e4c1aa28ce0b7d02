"""Runs one search problem by several strategies and seeds, so that they can be compared."""
