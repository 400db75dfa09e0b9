# Both commands set up their own virtual environment; nothing else is needed
# but Python 3.11 to 3.13 with venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo
# Most of a test is compiling, on one core.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

.PHONY: demo test test-slow test-all lint

demo: $(VENV)/installed
	@if [ -e $(DEMO) ]; then aside=$(DEMO)-until-$$(date +%Y%m%d-%H%M%S); \
	mv $(DEMO) $$aside && echo "the run that was in $(DEMO) is now in $$aside"; fi
	$(BIN)/python train.py --config=configs/stargan_v2/shapes.py --workdir=$(DEMO)
	$(BIN)/python eval.py --config=configs/stargan_v2/shapes.py --workdir=$(DEMO)
	@echo "picture grids: $(DEMO)/samples/$$(ls $(DEMO)/samples | sort -n | tail -1)/reference.png and others beside it"
	@echo "score table:   $(DEMO)/eval/scores.csv"

test: $(VENV)/installed-test
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/installed-test
	$(PYTEST) --dist=worksteal -m slow

test-all: test test-slow

lint: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The package itself too, as it lies here, for its console commands.
$(VENV)/installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13) and f"Python 3.11 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@echo "installing into $(VENV): some minutes, in silence"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(BIN)/python -m pip install --quiet -r requirements-test.txt
	touch $@
