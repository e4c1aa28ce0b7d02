"""Real data by name, a file a source; each has `load(argument, seed) -> hpo.model.Data`."""
