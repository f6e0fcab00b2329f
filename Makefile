# The front door. Every target does its own set-up: system packages and a virtual environment.
#   VENV=DIR     put the environment elsewhere
#   PYTHON=FILE  build it with this Python (3.11 or newer)
#   ARGS=...     for pytest or the demo
#   PREFIX=DIR   where to install (/usr/local)
VENV ?= .venv
ARGS ?=
PREFIX ?= /usr/local

BIN := $(VENV)/bin
WITH_NINJA := PATH=$(abspath $(BIN)):$$PATH
export PATH := $(PATH):/usr/sbin:/sbin
export PYTHON
export GOALS := $(MAKECMDGOALS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests and helpers are compiled once: to compile them takes longer than most of them take to run.
unexport PYTHONDONTWRITEBYTECODE

# The tests that run the package of this environment.
COVERED := tests/unit tests/kernel tests/service

CODE := mfc_dbus tests data/ansible data/man data/debian/bring .ci/requirements
SOURCES := $(shell find mfc_dbus data meson.build pyproject.toml LICENSE ! -name __pycache__ ! -name '*.pyc' ! -type l)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: demo-packages $(VENV)/installed ## show it at work, in network namespaces of its own
	@.ci/sandbox $(BIN)/python tests/demo.py $(ARGS)

.PHONY: demo-shell
demo-shell: demo-packages $(VENV)/installed ## the same network, and a shell in it
	@.ci/sandbox $(BIN)/python tests/demo.py --shell $(ARGS)

.PHONY: demo-desktop
demo-desktop: desktop-packages $(VENV)/applet $(VENV)/installed ## the applet with streams, or its pictures; ARGS='--pictures DIR'
	@.ci/sandbox $(BIN)/python tests/demo_desktop.py $(ARGS)

.PHONY: check
check: check-packages lint types test ## everything that must pass: lint, types, all tests

.PHONY: lint
lint: $(VENV)/dev ## ruff: rules and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

.PHONY: types
types: $(VENV)/dev ## mypy --strict
	$(BIN)/mypy

.PHONY: test
test: check-packages $(VENV)/dev $(VENV)/applet $(VENV)/installed ## the tests of the installed package; ARGS='tests/unit -k name'
	.ci/sandbox $(BIN)/pytest $(ARGS)

# Many of these tests write databases, and wait for a disk where there is one.
test-quick: export TMPDIR := $(or $(TMPDIR),$(wildcard /dev/shm),/tmp)
.PHONY: test-quick
test-quick: $(VENV)/dev $(VENV)/installed ## the unit tests in some seconds: fewer examples, on every core
	.ci/sandbox $(BIN)/pytest tests/unit -n auto -m 'not slow' --hypothesis-profile=quick $(ARGS)

.PHONY: coverage
coverage: check-packages $(VENV)/dev $(VENV)/applet $(VENV)/installed ## which lines the tests run; ARGS=tests/unit for some of them
	$(BIN)/coverage erase
	.ci/sandbox $(BIN)/coverage run $(BIN)/pytest --timeout 600 $(or $(ARGS),$(COVERED)); \
		status=$$?; $(BIN)/coverage combine -q && $(BIN)/coverage report; exit $$status

.PHONY: bench
bench: demo-packages $(VENV)/installed ## what it costs, beside the bare kernel, smcroute and others
	@.ci/sandbox env PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

.PHONY: bench-stalls
bench-stalls: demo-packages $(VENV)/installed ## how long other callers wait while it works
	@.ci/sandbox env PYTHONPATH=tests $(BIN)/python -m bench.stalls $(ARGS)

.PHONY: bench-memory
bench-memory: demo-packages $(VENV)/installed ## what as many routes as are allowed take, under MemoryMax= (root)
	@env PYTHONPATH=tests $(BIN)/python -m bench.limit $(ARGS)

.PHONY: compare
compare: check-packages $(VENV)/installed ## what smcroute can do and what this can, tried with packets
	@.ci/sandbox env PYTHONPATH=tests $(BIN)/python tests/compare.py $(ARGS)

.PHONY: format
format: $(VENV)/dev ## let ruff format, and mend what it can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

# What is installed has an environment of its own, of the system's Python, which its user can read.
# It is made anew each time, and only when all that goes in is here.
OWN := $(PREFIX)/lib/mfc-dbus
OWN_PYTHON := $(OWN)/venv/bin/python3
SYSTEM_PYTHON := /usr/bin/python3
LOCK := data/requirements.txt
PIP := umask 022 && $(BIN)/pip --python

.PHONY: install
install: $(VENV)/run build/wheels/all ## install programs and the service's files under PREFIX (root)
	umask 022 && $(SYSTEM_PYTHON) -m venv --clear --without-pip $(OWN)/venv
	$(PIP) $(OWN_PYTHON) install -qq --no-index -f build/wheels -r $(LOCK)
	printf "[binaries]\npython = '%s'\n" $(OWN_PYTHON) >build/system.ini
	$(WITH_NINJA) $(BIN)/meson setup build/system --reconfigure --native-file build/system.ini \
		--prefix $(PREFIX) -Dpython.install_env=venv
	$(WITH_NINJA) $(BIN)/meson install -C build/system --quiet
	umask 022 && grep -v '^#' build/system/meson-logs/install-log.txt >>$(OWN)/installed
	@# Where an earlier version was enabled, this gives D-Bus the name by which it starts a service.
	! systemctl is-enabled --quiet mfc-dbus 2>/dev/null || systemctl enable --quiet mfc-dbus
	@# An earlier version gave its user the configuration.
	! getent passwd mfc-dbus >/dev/null || chown -R --from=mfc-dbus root:root $(CONFIGURATION)

build/wheels/all: $(LOCK) | $(VENV)/made
	@PYTHON=$(SYSTEM_PYTHON) .ci/python >/dev/null
	rm -rf $(@D)
	$(PIP) $(SYSTEM_PYTHON) download -qq --require-hashes -d $(@D) -r $(LOCK)
	@touch $@

# In a copy of the sources, as Debian's tools want them, and with Debian's Python and meson.
DEB := build/deb/mfc-dbus

.PHONY: deb
deb: deb-packages build/deb/built ## build Debian packages, in build/

build/deb/built: build/wheels/all $(SOURCES) README.md
	rm -rf build/deb build/*.deb && mkdir -p $(DEB)
	cp -r LICENSE README.md data mfc_dbus meson.build pyproject.toml $(DEB)
	mv $(DEB)/data/debian $(DEB)/debian
	find $(DEB) -name __pycache__ -prune -exec rm -r {} +
	cd $(DEB) && PATH=/usr/sbin:/usr/bin:/sbin:/bin WHEELS=$(abspath build/wheels) \
		dpkg-buildpackage --build=binary --unsigned-changes
	mv build/deb/*.deb build/
	@touch $@

.PHONY: uninstall
uninstall: uninstall-service ## remove all that was installed
	sort -ru $(OWN)/installed | while read -r path; do \
		if [ -d "$$path" ]; then rmdir --ignore-fail-on-non-empty "$$path"; else rm -f "$$path"; fi \
	done
	rm -rf $(OWN)
	$(LOOK_AGAIN)

BOOTED := [ ! -d /run/systemd/system ] ||
STATE := /var/lib/mfc-dbus
CONFIGURATION := /etc/mfc-dbus
define LOOK_AGAIN
$(BOOTED) systemctl daemon-reload
$(BOOTED) systemctl reload dbus
endef

.PHONY: install-service
install-service: ## make the services' users, and let systemd start the service at boot
	systemd-sysusers $(PREFIX)/lib/sysusers.d/mfc-dbus.conf
	$(LOOK_AGAIN)
	systemctl enable mfc-dbus

.PHONY: start-service
start-service: ## start the service
	systemctl start mfc-dbus

.PHONY: stop-service
stop-service: ## stop it, and all forwarding with it
	systemctl stop mfc-dbus

.PHONY: status-service
status-service: ## show how it is, and what it said last
	systemctl status --no-pager mfc-dbus

.PHONY: uninstall-service
uninstall-service: ## stop it for good, and remove its user
	@[ -e $(OWN)/installed ] || { echo 'Nothing is installed under $(PREFIX).' >&2; exit 1; }
	$(BOOTED) systemctl stop mfc-dbus-json.socket 'mfc-dbus-json@*' mfc-dbus-exporter.socket \
		mfc-dbus-exporter mfc-dbus-dispatcher mfc-dbus
	systemctl disable mfc-dbus-json.socket mfc-dbus-exporter.socket mfc-dbus-exporter \
		mfc-dbus-dispatcher mfc-dbus
	[ ! -d $(STATE) ] || chown -R root:root $(STATE)
	for user in mfc-dbus-json mfc-dbus-exporter mfc-dbus; do \
		! getent passwd $$user >/dev/null || userdel $$user; \
	done
	! getent group mfc-daemon >/dev/null || groupdel mfc-daemon
	for path in $(addprefix $(CONFIGURATION)/,routes.d connections.d dispatcher.d/no-wait.d \
		dispatcher.d) \
		$(CONFIGURATION); do \
		[ ! -d $$path ] || rmdir --ignore-fail-on-non-empty $$path; \
	done
	@[ ! -d $(STATE) ] || echo 'The routes stay, in $(STATE): remove it to forget them.'

.PHONY: lock
lock: $(VENV)/made ## pin the newest of all that goes in
	$(BIN)/pip install -qq uv
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --extra fast \
		--no-annotate --custom-compile-command 'make lock' -o $(LOCK) pyproject.toml

.PHONY: clean
clean: ## remove the environment and what the tools left
	$(OURS)
	rm -rf $(VENV) build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .mesonpy-*
	find mfc_dbus tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: .venv
.venv: $(VENV)/dev $(VENV)/installed

.PHONY: venv-packages demo-packages desktop-packages check-packages deb-packages
venv-packages demo-packages desktop-packages check-packages deb-packages: %-packages:
	@.ci/packages $*

# Nothing is removed that this Makefile did not make, whatever VENV says.
OURS = @[ ! -e $(VENV) ] || [ -e $(VENV)/ours ] || [ -e $(VENV)/made ] || \
	{ echo '$(VENV) is not of our making.' >&2; exit 1; }

# The environment: made, then given the dependencies, then the project itself. The files are stamps.
$(VENV)/made: | venv-packages
	$(OURS)
	rm -rf $(VENV)
	mkdir -p $(VENV) && touch $(VENV)/ours
	"$$(.ci/python)" -m venv $(VENV)
	@touch $@

$(VENV)/run: $(VENV)/made pyproject.toml .ci/requirements
	$(BIN)/python .ci/requirements fast > $(VENV)/requirements.txt
	$(BIN)/pip install -qq -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/python .ci/requirements fast dev > $(VENV)/requirements.txt
	$(BIN)/pip install -qq -r $(VENV)/requirements.txt
	@touch $@

# The applet runs by the system's Python, whose GTK it takes; this is what it needs besides.
$(VENV)/applet: | $(VENV)/made
	$(BIN)/pip --python $(SYSTEM_PYTHON) install -qq --target $@ msgspec

$(VENV)/installed: $(VENV)/run $(SOURCES)
	$(WITH_NINJA) $(BIN)/pip install -qq --no-deps --no-build-isolation --force-reinstall .
	@touch $@
