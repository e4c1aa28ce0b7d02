"""Hears what a study tells while it runs: the progress display."""
