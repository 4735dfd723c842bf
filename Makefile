# Two commands matter: `make demo` shows the outage and its cure, `make test` runs the tests. Both set
# up what they need below .venv/ and run in private namespaces (lab/private.py).

PYTHON ?= python3
SALT   ?= 3008
VENV    = .venv/$(SALT)
PICTURE ?= build/outage
PRIVATE = $(PYTHON) lab/private.py
PYTEST  = $(PRIVATE) $(VENV)/bin/python -m pytest

.PHONY: demo film bench databases soak release lock test test-long fuzz kernels lint
.PHONY: unit functional integration delivery bare matrix clean
.DELETE_ON_ERROR:

# The outage, its causes and its cures; FAST=1 plays fewer scenes. Draws a picture.
demo: $(VENV)/ready
	$(PRIVATE) $(VENV)/bin/python -m lab.demo $(if $(filter 1,$(FAST)),--fast) --picture $(PICTURE)

# The picture that README.md opens with.
film:
	$(MAKE) demo PICTURE=docs/outage

# Measures us next to the other tools, in one run; writes docs/benchmarks.md and its picture.
# QUICK=1: small tables, three rounds, writes nothing.
bench: $(VENV)/ready
	$(PRIVATE) $(VENV)/bin/python -m benchmarks $(if $(filter 1,$(QUICK)),--quick)

# Most parts wait more than they work, so six run side by side, the longest first; the output of each is
# printed when it is over. PARTS are the rooms that take longest, and the rest.
PARTS = formula sentinel rest resolve
SIDE_BY_SIDE = $(MAKE) --no-print-directory --keep-going -j6 --output-sync=target
test: lint
	$(SIDE_BY_SIDE) integration-salt $(PARTS:%=functional-%) integration-lab unit

lint: .venv/lint/ready
	.venv/lint/bin/ruff format --check .
	.venv/lint/bin/ruff check .

unit: $(VENV)/ready
	$(PYTEST) tests/unit

integration: $(VENV)/ready
	$(SIDE_BY_SIDE) $@-salt $@-lab

# The demonstration, the lab, and the ways in which the files reach a host; and what runs inside Salt.
LAB = $(addprefix tests/integration/test_,demo.py lab.py setup.py delivery.py)
integration-lab: $(VENV)/ready
	$(PYTEST) $(LAB)
integration-salt: $(VENV)/ready
	$(PYTEST) tests/integration $(LAB:%=--ignore=%)

functional bare: $(VENV)/ready
	$(SIDE_BY_SIDE) $(PARTS:%=$@-%)

where = tests/functional$(if $(filter rest,$*), $(PARTS:%=--ignore=tests/functional/%),/$*)
functional-%: $(VENV)/ready
	$(PYTEST) $(where)

# The functional tests as if no optional program were installed (lab/bare.py).
bare-%: $(VENV)/ready
	$(PRIVATE) $(PYTHON) -m lab.bare $(VENV)/bin/python -m pytest $(where)

# PostgreSQL and Redis under load while machines are re-created: the table in docs/why.md.
databases: $(VENV)/ready
	$(PRIVATE) $(VENV)/bin/python -m benchmarks.databases

# Whether anything grows in an hour of the sentinel and in 2,000 runs; MINUTES=5: shorter.
soak: $(VENV)/ready
	$(PRIVATE) $(VENV)/bin/python -m benchmarks.soak --minutes $(or $(MINUTES),60)

# The slow tests: whole fleets, more neighbours than the kernel leaves alone, and 500 random tables instead of 30.
test-long: $(VENV)/ready
	$(PYTEST) -m long tests/integration
	$(PYTEST) -m long tests/functional
	ARP_TABLES=500 $(PYTEST) tests/functional/table/test_random_tables.py

# Every target of tests/fuzz for a minute each, driven by coverage (atheris). TIME=600: ten minutes each;
# TARGET=audit: only that one; KEEP=1: keep what reaches new code, in tests/fuzz/corpus.
fuzz: $(VENV)/fuzz
	$(VENV)/bin/python tests/fuzz --seconds $(or $(TIME),60) $(if $(filter 1,$(KEEP)),--keep) $(TARGET)

# The sentinel, flush and revalidate on Debian's kernels, in an emulator (lab/kernels.py): ten
# minutes each. KERNEL=6.1: only that one; SCENES=networks: only those scenes.
kernels: $(VENV)/kernels
	$(PYTHON) -m lab.kernels fetch $(KERNEL)
	$(PRIVATE) $(VENV)/bin/python -m lab.kernels play $(KERNEL)

# Wheel, sdist, the formula as a tarball and their checksums in dist/, built twice, checked, and each
# tried in a fresh environment (lab/release.py). URL=https://…: of the repository, for the links.
release: .venv/release/ready $(VENV)/ready
	PYTHONPATH=. .venv/release/bin/python -m lab.release $(SALT) $(URL)
	$(PYTEST) -m long tests/integration/test_release.py

# The other supported Salt release lines, each with another pyroute2; and with the Python of Salt's own
# packages, where that is installed (Debian's newer releases; `uv python install 3.10 3.14`).
matrix:
	$(MAKE) unit functional delivery SALT=3006
	$(MAKE) unit functional delivery SALT=3007
	@for each in 3007-3.10 3008-3.14; do \
	  if command -v python$${each#*-} >/dev/null; then $(MAKE) unit functional SALT=$$each || exit; \
	  else echo "python$${each#*-}: not installed, so not tested"; fi; done

# Every way in which the files reach a host, salt-ssh too where sshd is installed; and from the flat
# layout to the package and back. A part of `integration` and `test-long`.
delivery: $(VENV)/ready
	$(PYTEST) -m "long or not long" $(addprefix tests/integration/test_,delivery.py upgrade.py salt_ssh.py)

# An environment is ready when its stamp is newer than the requirements and names this directory: its
# programs contain the path of their Python. An existing environment is completed and never wiped,
# which needs no index when nothing is missing; a failure half way leaves it as it was.
#
# The stem of its name is that of its lock; `3008-3.14` is 3008 with python3.14.
lock = requirements/lock/$(firstword $(subst -, ,$(1))).txt
python = $(or $(addprefix python,$(word 2,$(subst -, ,$(1)))),$(PYTHON))
install = -m pip install --quiet --disable-pip-version-check --require-hashes -r
elsewhere = $(filter-out $(CURDIR),$(file <$(1)))

.SECONDEXPANSION:
.venv/%/ready: $$(call lock,$$*) $$(if $$(call elsewhere,$$@),moved) | need-venv
	@echo "setting up $(@D) (a minute, the first time)"
	@$(if $(call elsewhere,$@),grep -d skip -lIF '$(call elsewhere,$@)/$(@D)/' $(@D)/bin/* | \
	  xargs -r sed -i 's|$(call elsewhere,$@)/$(@D)/|$(CURDIR)/$(@D)/|g')
	@$(@D)/bin/python -m pip --version >/dev/null 2>&1 || $(call python,$*) -m venv --clear $(@D)
	@$(@D)/bin/python $(install) $<
	@echo '$(CURDIR)' >$@

.venv/%/kernels .venv/%/fuzz: requirements/lock/$$(@F).txt .venv/%/ready
	@$(@D)/bin/python $(install) $<
	@touch $@

# Exact versions and hashes of all that is installed, the newest that requirements/ allow (lab/lock.py).
lock: .venv/lock/ready
	.venv/lock/bin/python lab/lock.py

.PHONY: need-venv moved
need-venv:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments (Debian: apt-get install python3-venv)"; exit 1; }

clean:
	rm -rf .venv .hypothesis .pytest_cache .ruff_cache build dist *.egg-info
