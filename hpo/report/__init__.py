"""Shows what studies came to: one study's page, and which search strategy was worth its cost."""
