"""What `serving.py` measures beside `hpo serve`."""
