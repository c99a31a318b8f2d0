# A bare checkout needs Python 3.11 or newer, g++, make and perl. `make demo` and `make test` do the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := $(foreach part,common models quant hdl sim reports api cli,-p addax.$(part))
export ADDAX_CACHE ?= $(CURDIR)/.cache
export PYTHONHASHSEED := 0

.PHONY: demo test guard check random fuzz bench results seeds lint wheel clean

demo: $(VENV)/ready
	$(BIN)/addax demo

# Two files of tests at a time: most of them wait for a tool.
test: $(VENV)/ready
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

# The slow tests that protect a main way; the rest of them is `make check`.
guard: $(VENV)/ready
	$(BIN)/pytest -m guard -n 2 --dist loadfile

# An hour: every fold, bit width and kernel through the RTL, proofs, whole test sets. Two files hold half of the
# time, so a worker that is done takes tests of the other's file. Then properties once more with examples of their own, of
# a seed that the head of that run says (`make check SEED=N` repeats it).
check: $(VENV)/ready
	$(BIN)/pytest -n 2 --dist worksteal
	$(MAKE) --no-print-directory random

# Properties with random examples; what fails prints its seed and the example.
SEED := $(shell date +%s)
random: $(VENV)/ready
	ADDAX_HYPOTHESIS=random $(BIN)/pytest -m "hypothesis and not slow" -n 2 --hypothesis-seed $(SEED)

# Damaged files of every format, 20 minutes in all (`make fuzz MINUTES=1`); a failure names its seed.
MINUTES := 20
fuzz: $(VENV)/ready
	ADDAX_FUZZ_MINUTES=$(MINUTES) ADDAX_FUZZ_SEED=$(SEED) $(BIN)/pytest tests/test_fuzz.py -m slow -s

bench: $(VENV)/ready
	$(BIN)/python -m tests.bench

# What README's tables are made of; a result that has a file is not measured again.
results: $(VENV)/ready
	$(BIN)/python -m tests.bench.results

# The ten papers that addax begins with, as far as each has come; rows of today's out/seeds-DATE.csv are not run again.
seeds: $(VENV)/ready
	$(BIN)/python -m tests.bench.seeds

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/addax
	cd $(VENV)/src && MYPYPATH=. ../bin/mypy --config-file ../../pyproject.toml $(PACKAGES)

# Build the wheel and try it in an environment of its own.
wheel: $(VENV)/ready
	rm -rf build/wheel build/try
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation -w build/wheel .
	$(PYTHON) -m venv build/try
	build/try/bin/pip install --quiet -r requirements.lock
	build/try/bin/pip install --quiet --no-deps build/wheel/*.whl
	cd build && try/bin/addax quantize lenet5 --kernel adder --bits 8 --data digits -o try/net.addax \
	    && try/bin/addax evaluate try/net.addax --data digits \
	    && try/bin/addax generate try/net.addax --device ecp5-45k --fill -o try/build \
	    && try/bin/addax report try/build

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) common/preflight.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) .cache build out *.egg-info
