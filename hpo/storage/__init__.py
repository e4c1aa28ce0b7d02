"""Remembers studies: the SQL database, and the ledger that writes it."""
