.PHONY: install test lint format types layers check train bench

install:
	python -m pip install -e ".[test]"

test:
	python -m pytest

lint:
	ruff check .
	ruff format --check .

format:
	ruff check --fix .
	ruff format .

types:
	pyright

layers:
	lint-imports

check: lint types layers test

train:
	python -m training --out runs/training

bench:
	python -m benchmarks.world --prompts 500
