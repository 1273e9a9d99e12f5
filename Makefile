# Two commands on a fresh machine: `make demo` and `make test`. The rest is for daily work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test check format bench clean

install: $(VENV)/.installed

# Plain pip and venv: constraints.txt holds the exact versions we and CI use.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

DEMO := demo-run

demo: install
	@rm -rf $(DEMO)
	@echo "This trains a small residual network on 1,797 real handwritten digits (scikit-learn's),"
	@echo "tests it on digits it has never seen, and labels three pictures. About a minute."
	@echo
	$(BIN)/resnetkit train digits --data digits --out $(DEMO)
	@echo
	$(BIN)/resnetkit evaluate $(DEMO)/package --data digits --split test --out $(DEMO)/test
	@echo
	$(BIN)/python examples/save_digits.py $(DEMO)/pictures
	$(BIN)/resnetkit predict $(DEMO)/package $(DEMO)/pictures
	@echo
	@echo "Open $(DEMO)/report.html (training) and $(DEMO)/test/report.html (test) in a browser."

check: install
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest

format: install
	$(BIN)/ruff check --fix src tests examples benchmarks
	$(BIN)/ruff format src tests examples benchmarks

bench: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/throughput.py --data $(or $(CIFAR10),../shared/data/cifar10)
	$(BIN)/python benchmarks/loader.py --data $(or $(TINY),../shared/data/tiny-imagenet)

clean:
	rm -rf $(VENV) $(DEMO) build src/*.egg-info .pytest_cache .ruff_cache .hypothesis
