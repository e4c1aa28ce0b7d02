"""Executes studies: Ray Tune trials on warm workers, and the driver that feeds them."""
