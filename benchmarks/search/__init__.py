"""Search quality on problems that cost nothing: problems, peers, the contest, its table."""
