"""Serves exported models over HTTP: Ray Serve keeps the processes, HAProxy stands before them."""
