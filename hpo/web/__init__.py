"""Serves studies to a browser: the Optuna dashboard, filled with what a run came to."""
