# `make quickstart` and `make test` do all the set-up themselves.
PYTHON ?= python3
CURATE = .venv/bin/curate

.PHONY: setup services studio quickstart test check docs golden clean
setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "curate needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $@

quickstart: setup            ## the main job on real text that this machine has: data, model, report
	test -d quickstart || $(CURATE) init quickstart
	cd quickstart && ../$(CURATE) run pipeline.yaml > funnel.txt
	cd quickstart && ../$(CURATE) train train.yaml > model.txt
	cd quickstart && ../$(CURATE) report installed-text --out report.html > /dev/null
	@echo; cat quickstart/funnel.txt; echo; cat quickstart/model.txt; echo; echo "report:     $(CURDIR)/quickstart/report.html"

services: studio             ## programs that some tests use and pip has not: Chromium, Slurm, PostgreSQL, MariaDB, from Debian's packages
	@if command -v chromium > /dev/null && command -v sbatch > /dev/null && command -v psql > /dev/null \
		&& command -v mariadb > /dev/null; then :; \
	elif test "$$(id -u)" = 0 && command -v apt-get > /dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends chromium slurm-wlm munge postgresql mariadb-server > /dev/null; \
	else echo "services: Chromium, Slurm, PostgreSQL or MariaDB is not installed: needs root and apt; tests are skipped (with CI=true they fail)"; fi

studio: setup                ## Label Studio in an environment of its own, for `curate label serve` and the tests
	.venv/bin/python -c 'import sys; from curate.labeling.studio.server import environment; environment(lambda text: print(text, file=sys.stderr))'

# Where CI is `true`, tests fail that are skipped elsewhere for want of a program.
test: setup $(if $(filter true,$(CI)),services)   ## every test
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist worksteal

check: setup                 ## format, lint, types, import rules: what the tests check, faster
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/lint-imports && .venv/bin/pyright

docs golden: setup           ## make the generated reference and golden texts again
	.venv/bin/python -m tests.golden

clean:
	rm -rf quickstart build dist *.egg-info
