# The two commands of the README.  Each line also works by hand, without make.
.PHONY: run test lint

.venv/bin/hpo:
	python3 -m venv .venv
	.venv/bin/pip install --quiet -c constraints.txt -e ".[dev]"

run: .venv/bin/hpo
	.venv/bin/hpo run --model cnn --sampler tpe

test: .venv/bin/hpo lint
	.venv/bin/pytest -n 3 --dist worksteal -m "not alone"
	.venv/bin/pytest -m alone

lint: .venv/bin/hpo
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
