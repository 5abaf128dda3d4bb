# The verbs of this repository. `make` alone lists them.
#
#   ARGS="..."         passed on to the program behind the verb
#   BROKER=kafka       demo and bench on Apache Kafka instead of the embedded broker
#   PYTHON=python3.13  the interpreter that .venv is made with
#   VENV=.cache/3.13   another place for .venv, so that each interpreter may have its own

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory

PYTHON ?= python3
BROKER ?= embedded
VENV   := .venv
BIN    := $(VENV)/bin
UV     := .cache/uv/bin/uv
JARS   := .cache/kafka/libs/.complete
DRAWER := .cache/mermaid/mermaid.esm.min.mjs

.DEFAULT_GOAL := help
.PHONY: help venv kafka jars-if-possible drawer-if-possible demo test lint typing docs bench torture format lock minimum uvloop wheel

help: ## List the verbs.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: venv ## Run the Task API example against a broker (BROKER=embedded or kafka) and read its events back; then lose the broker.
	@if [ "$(BROKER)" = kafka ]; then $(MAKE) kafka; fi
	@$(BIN)/python -m examples.task_api.demo --broker $(BROKER) $(ARGS)
	@echo && $(BIN)/python examples/dead_letters.py --broker $(BROKER)

test: venv jars-if-possible ## Run every test tier; the Kafka tier needs Java 17 and Maven.
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: venv ## Check style, import directions, dependencies, spelling and metadata.
	@echo "ruff check" && $(BIN)/ruff check .
	@echo "ruff format" && $(BIN)/ruff format --check .
	@echo "import directions" && $(BIN)/lint-imports --no-cache # it would miss what a new module changes
	@echo "dependencies" && $(BIN)/deptry src
	@echo "spelling" && $(BIN)/codespell $$(git ls-files --cached --others --exclude-standard)
	@echo "pyproject.toml" && $(BIN)/validate-pyproject pyproject.toml

typing: venv ## Check types: mypy strict on everything, pyright on the public surface.
	@echo "mypy" && $(BIN)/mypy
	@echo "pyright" && $(BIN)/pyright

docs: venv drawer-if-possible ## Build the documentation into build/docs, warnings being errors.
	@$(BIN)/python -m sphinx -W --keep-going --quiet -a -d build/doctrees docs build/docs # all of them: each has the sidebar
	@echo "make: build/docs/index.html; to have diagrams drawn: $(BIN)/python -m http.server --bind 127.0.0.1 -d build/docs"

bench: venv kafka ## Measure eventpub beside its peers on Apache Kafka (ARGS="peers java --rounds 1"; ARGS=--help lists the rest).
	@$(BIN)/python -m benchmarks $(ARGS)

torture: venv jars-if-possible ## Play thousands of episodes under random faults, and check every promise (ARGS="--memory --seed 7" repeats one).
	@$(BIN)/python -m torture $(ARGS)

format: venv ## Apply the formatter and the linter's safe fixes.
	@$(BIN)/ruff check --fix . || true
	@$(BIN)/ruff format .

lock: $(UV) ## Compile requirements/*.txt again from pyproject.toml (newest allowed versions).
	@echo "compiling requirements/dev.txt, minimum.txt and uv.txt"
	@$(UV) pip compile $(COMPILE) --upgrade --group dev pyproject.toml -o requirements/dev.txt
	@$(UV) pip compile $(COMPILE) --resolution lowest-direct --group test --group build --group oldest pyproject.toml -o requirements/minimum.txt
	@echo 'uv>=0.13,<0.14' | $(UV) pip compile $(COMPILE) --upgrade - -o requirements/uv.txt

# Addresses stay out of the files: index options are not asked for.
COMPILE := --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11

minimum: $(UV) jars-if-possible ## Run the tests on the oldest versions allowed, in .cache/minimum.
	@echo "installing requirements/minimum.txt into .cache/minimum"
	@test -x .cache/minimum/bin/python || $(PYTHON) -m venv --without-pip .cache/minimum
	@$(UV) pip sync --quiet --python .cache/minimum --require-hashes requirements/minimum.txt
	@$(UV) pip install --quiet --python .cache/minimum --no-deps --no-build-isolation -e .
	@.cache/minimum/bin/python -m pytest $(ARGS)

uvloop: venv jars-if-possible ## Run the tests that wait for real sockets and threads on uvloop (Linux).
	@$(BIN)/python -m pytest --uvloop -n 2 --dist loadgroup tests/contract tests/kafka tests/portal tests/wire $(ARGS)

# Not in .venv, which knows src: first as users have it, with what it declares, then with the tests beside it.
wheel: venv ## Build the sdist and the wheel into dist, and test the wheel where src cannot be seen, in .cache/wheel.
	@echo "building" && rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@$(BIN)/check-wheel-contents dist/*.whl
	@echo "installing the wheel with every extra into .cache/wheel/venv"
	@rm -rf .cache/wheel && $(BIN)/python -m venv --without-pip $(WHEEL_VENV) && cp -R docs pyproject.toml support tests .cache/wheel
	@$(UV) pip install --quiet --python $(WHEEL_VENV) -c requirements/dev.txt "$$(echo dist/*.whl)[$$($(BIN)/python -c '$(EXTRAS)')]"
	@$(WHEEL_VENV)/bin/eventpub --help >/dev/null && echo "eventpub --help: ok"
	@cd .cache/wheel && echo "mypy" && $(abspath $(BIN))/mypy --python-executable venv/bin/python tests/typing
	@cd .cache/wheel && echo "pyright" && $(abspath $(BIN))/pyright --pythonpath venv/bin/python
	@$(UV) pip install --quiet --python $(WHEEL_VENV) -c requirements/dev.txt --group test
	@cd .cache/wheel && venv/bin/python -m pytest -q -n 2 tests/unit tests/publisher tests/harness/test_plugin.py -m "not slow" $(ARGS)

WHEEL_VENV := .cache/wheel/venv
EXTRAS     := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"], sep=",")

venv: $(VENV)/.stamp
	@:

$(VENV)/.stamp: requirements/dev.txt pyproject.toml | $(UV)
	@echo "make: installing requirements/dev.txt (hashes checked) and eventpub itself into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@$(UV) pip sync --quiet --compile-bytecode --python $(VENV) --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(VENV) --no-deps --no-build-isolation -e .
	@touch $@

# uv lives beside .venv and not in it: `uv pip sync` removes what is not listed.
$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("make: Python 3.11 or later is needed, say PYTHON=...; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "make: installing uv (requirements/uv.txt, hashes checked) into .cache/uv"
	@rm -rf .cache/uv && $(PYTHON) -m venv .cache/uv
	@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

kafka: $(JARS) ## Fetch Apache Kafka's jars with Maven into .cache/kafka (once).
	@:

$(JARS): tools/kafka/pom.xml
	@command -v java >/dev/null || { echo "make: Apache Kafka needs Java 17 or later, and there is no java here" >&2; exit 1; }
	@command -v mvn >/dev/null || { echo "make: Apache Kafka's jars are fetched with Maven, and there is no mvn here" >&2; exit 1; }
	@echo "make: fetching Apache Kafka's jars with Maven into .cache/kafka/libs (about 44 MB, once)"
	@rm -rf .cache/kafka/libs
	@said=$$(mvn -q -B -f tools/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
	  -DoutputDirectory=$(CURDIR)/.cache/kafka/libs 2>&1) || { echo "$$said" >&2; exit 1; }
	@touch $@

# Diagrams are drawn in the reader's browser by a copy of mermaid beside the pages, which npm fetches.
drawer-if-possible:
	@if [ -e $(DRAWER) ]; then :; \
	elif ! command -v npm >/dev/null; then echo "make: there is no npm here, so diagrams stay text"; \
	else $(MAKE) $(DRAWER) || echo "make: mermaid could not be fetched, so diagrams stay text"; fi

MERMAID        := mermaid-11.12.1
MERMAID_SHA256 := 3bd65ddefe97fb2e01d976a01d4078f8d773bfc56c6a75a9abf08b564ce0f8b2

$(DRAWER):
	@echo "make: fetching $(MERMAID) with npm into .cache/mermaid (14 MB, once; its hash is checked)"
	@rm -rf .cache/mermaid .cache/mermaid.new && mkdir -p .cache/mermaid.new
	@cd .cache/mermaid.new && npm pack --silent $(subst mermaid-,mermaid@,$(MERMAID)) >/dev/null
	@cd .cache/mermaid.new && $(PYTHON) -c 'import hashlib, sys; sys.exit(hashlib.sha256(open("$(MERMAID).tgz", "rb").read()).hexdigest() != "$(MERMAID_SHA256)")' \
	  || { echo "make: $(MERMAID).tgz is not the file that it was" >&2; exit 1; }
	@cd .cache/mermaid.new && tar -xzf $(MERMAID).tgz package/dist/mermaid.esm.min.mjs package/dist/chunks/mermaid.esm.min
	@find .cache/mermaid.new -name '*.map' -delete
	@mv .cache/mermaid.new/package/dist .cache/mermaid && rm -rf .cache/mermaid.new

# Without Java or Maven the tests say so themselves, and fail if CI is set.
jars-if-possible:
	@if command -v java >/dev/null && command -v mvn >/dev/null; then $(MAKE) kafka; fi
