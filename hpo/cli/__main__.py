"""`python -m hpo.cli`: the same as `hpo`."""

from hpo.cli import main

main()
