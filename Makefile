# Two commands set everything up: `make port` and `make test`. See README.md.
PYTHON ?= python3
VENV ?= .venv
PRESET ?= tiny
RUN := $(VENV)/bin/python

GPU ?= cuda

.PHONY: environment port test lint todo wheel clean gpu

# The environment, made anew when the dependencies change.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable '.[port,test]'
	touch $@

environment: $(VENV)/.installed

# Export, import, build, bundle, verify and compare end to end.
port: environment
	$(VENV)/bin/sam-tvm port --preset $(PRESET)

# Files of tests are shared among two processes: most tests hold one core.
test: environment lint
	$(RUN) -m pytest -n 2 --dist loadfile

# For the GPU of this machine: build, verify, bundle, time, in both of its precisions.
gpu: environment
	for precision in float32 float16; do \
		$(VENV)/bin/sam-tvm port --preset $(PRESET) --target $(GPU) --precision $$precision && \
		$(RUN) scripts/benchmark_components.py --preset $(PRESET) --target $(GPU) \
			--precision $$precision --against eager || exit 1; \
	done

lint: environment
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# The table in TODO.md, from the reports.
todo: environment
	$(RUN) scripts/update_todo.py

wheel: environment
	$(RUN) -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf artifacts/tiny artifacts/full build dist
