"""Trains one network: the loop, its precision, its metrics, and the session around it."""
