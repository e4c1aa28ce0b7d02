"""The model zoo, a file a model.  Knows the model contract, not the service."""
