"""The contest of `time_to_quality.py`: one training function, three who search with it."""
