"""A study's life, from what is asked to the saved model: the one way in for every client."""
