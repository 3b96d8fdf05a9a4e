# aisearch-jobs: "make help" lists the targets.

BUILD    ?= build
CC       ?= cc
PYTHON   ?= /usr/bin/python3
SANITIZE ?=

# Hardening flags are omitted in builds with sanitizers, and when the user sets CFLAGS.
ifeq ($(SANITIZE),)
CFLAGS   ?= -O2 -g -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
else
CFLAGS   ?= -O1 -g -fno-omit-frame-pointer
# (instrumented code causes false positives of gcc's format-truncation check)
SAN      := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -Wno-format-truncation
endif
LDFLAGS  ?= -Wl,-z,relro -Wl,-z,now

# Installation directories; the defaults are a distribution's paths.
DESTDIR      ?=
prefix       ?= /usr
libdir       ?= $(prefix)/lib
datadir      ?= $(prefix)/share
mandir       ?= $(datadir)/man
docdir       ?= $(datadir)/doc/aisearch-jobs
htmldir      ?= $(datadir)/aisearch-jobs/html
nginxmoddir  ?= $(or $(call NGINX_ARG,modules-path),$(addsuffix /modules,$(call NGINX_ARG,prefix)),$(libdir)/nginx/modules)
nginxetcdir  ?= $(patsubst %/,%,$(dir $(or $(call NGINX_ARG,conf-path),$(addsuffix /conf/,$(call NGINX_ARG,prefix)),/etc/nginx/)))
nginxconfdir ?= $(datadir)/nginx/modules-available
collectddir  ?= $(libdir)/collectd

# nginx: Debian's nginx-dev or any source tree. The configure arguments are taken from this nginx or from the tree.
NGINX     ?= $(or $(shell PATH=$$PATH:/usr/sbin:/usr/local/sbin command -v nginx),/usr/sbin/nginx)
NGINX_SRC ?= /usr/share/nginx/src
NGINX_ARG  = $(patsubst --$(1)=%,%,$(filter --$(1)=%,$(shell $(NGINX) -V 2>&1)))

# collectd: the headers of Debian's collectd-dev.
COLLECTD_INCLUDE ?= /usr/include/collectd

PKG_CONFIG ?= pkg-config
PACKAGES   := libcurl libssl libcjson
PKG_CFLAGS  = $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
PKG_LIBS    = $(shell $(PKG_CONFIG) --libs $(PACKAGES))

# Long builds run in parallel, even without -j.
CORES    := $(shell nproc 2>/dev/null || echo 1)
PARALLEL  = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(CORES))

# V=1 shows the commands.
Q   := $(if $(V),,@)
SAY  = $(if $(V),,@echo '  $(1)  $(2)')

WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wmissing-prototypes -Wstrict-prototypes $(WERROR)
BASE  = $(WARN) $(CFLAGS) $(CPPFLAGS) $(SAN) -fPIC -MMD -MP

LIB     := $(BUILD)/libaisearch.a
LIB_SRC := $(wildcard common/ais_*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)

UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT     := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

BENCH_TOOLS := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c)) $(BUILD)/bench/series.so

COLLECTD_SRC := $(wildcard collectd-plugin/*.c)
COLLECTD_OBJ := $(COLLECTD_SRC:%.c=$(BUILD)/%.o)
COLLECTD_SO  := $(BUILD)/collectd/aisearch.so
COLLECTD_MAN := $(BUILD)/collectd/collectd-aisearch.5

NGINX_DEPS := $(wildcard nginx-module/*.[ch] common/*.[ch])
NGINX_SO   := $(BUILD)/nginx/ngx_http_aisearch_module.so

.PHONY: all lib unit nginx collectd
all: lib nginx collectd
lib: $(LIB)
unit: $(UNIT)
nginx: $(NGINX_SO)
collectd: $(COLLECTD_SO) $(COLLECTD_MAN)

# Everything is rebuilt when flags or the versions of dependencies change. nginx is reconfigured when its sources or the
# configure arguments change.
FLAGS = $(CC) $(BASE) $(LDFLAGS) $(COLLECTD_INCLUDE) $(shell $(PKG_CONFIG) --modversion $(PACKAGES)) \
        $(shell sed -n 's/^.define PACKAGE_VERSION //p' $(COLLECTD_INCLUDE)/core/config.h 2>/dev/null)
NGINX_BUILT = $(shell $(NGINX) -V 2>&1; sed -n 's/^.define nginx_version //p' $(NGINX_SRC)/src/core/nginx.h 2>/dev/null)
$(BUILD)/flags: TEXT = $(FLAGS)
$(BUILD)/nginx/sources: TEXT = $(NGINX_SRC) $(NGINX) $(subst ',,$(NGINX_BUILT)) $(filter %.c,$(NGINX_DEPS))
$(BUILD)/flags $(BUILD)/nginx/sources: FORCE
	@$(PKG_CONFIG) --exists $(PACKAGES) || { echo 'libcurl, OpenSSL or cJSON is missing: make deps' >&2; exit 1; }
	@mkdir -p $(@D)
	@echo '$(TEXT)' | cmp -s - $@ || echo '$(TEXT)' > $@
.PHONY: FORCE
FORCE:
.DELETE_ON_ERROR:

# ---- libaisearch ----------------------------------------------------------------------------------------------------

$(BUILD)/common/%.o: common/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC,$<)
	$(Q)$(CC) -std=gnu11 $(BASE) $(PKG_CFLAGS) -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(call SAY,AR,$@)
	$(Q)$(AR) rcs $@ $^

# ---- unit tests: one file each; a line "/* LDFLAGS: ... */" in it adds linker flags ----------------------------------

$(BUILD)/unit/%: tests/unit/%.c $(LIB) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) -std=gnu11 $(BASE) -MF $@.d -Icommon -Itests/unit $(PKG_CFLAGS) -o $@ $< \
	    $(LDFLAGS) $$(sed -n 's,^/\* LDFLAGS: \(.*\) \*/$$,\1,p' $<) $(LIB) $(PKG_LIBS) -lcmocka -lpthread

# (parts of the plugin that call collectd, with the stub of the daemon)
$(BUILD)/unit/test_state $(BUILD)/unit/test_discovery $(BUILD)/unit/test_discovery_faults: override CPPFLAGS += $(COLLECTD_CFLAGS)

# ---- collectd plugin: module_register is the only exported symbol ---------------------------------------------------

COLLECTD_CFLAGS = -std=gnu11 -DHAVE_CONFIG_H -Icommon $(PKG_CFLAGS) \
                  -isystem $(COLLECTD_INCLUDE)/core/daemon -isystem $(COLLECTD_INCLUDE)/core \
                  -isystem $(COLLECTD_INCLUDE)

$(BUILD)/collectd-plugin/%.o: collectd-plugin/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC,$<)
	$(Q)$(CC) -fvisibility=hidden $(COLLECTD_CFLAGS) $(BASE) -c -o $@ $<

$(COLLECTD_SO): $(COLLECTD_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SAN) -shared $(LDFLAGS) -Wl,--exclude-libs,ALL -o $@ $(COLLECTD_OBJ) $(LIB) $(PKG_LIBS) -lpthread

# ---- the plugin without collectd: its objects with a stub of the daemon, and a program that drives it ---------------

STUB_OBJ := $(patsubst tests/plugin/%.c,$(BUILD)/tests/plugin/%.o,$(wildcard tests/plugin/*.c))
DRIVER   := $(BUILD)/plugin/driver

$(BUILD)/tests/plugin/%.o: tests/plugin/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC,$<)
	$(Q)$(CC) $(COLLECTD_CFLAGS) $(BASE) -c -o $@ $<

$(DRIVER): $(STUB_OBJ) $(COLLECTD_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(SAN) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lpthread -lm

VERSION = $(shell sed -n 's/.*AIS_VERSION "\(.*\)"/\1/p' common/ais_version.h)

$(COLLECTD_MAN): collectd-plugin/collectd-aisearch.pod common/ais_version.h
	@mkdir -p $(@D)
	$(call SAY,POD,$@)
	$(Q)pod2man --section=5 --center='aisearch-jobs' --release='$(VERSION)' $< $@

# ---- nginx module: nginx's own build system, in a tree of links, so that the sources are not modified ---------------

NGINX_TREE := $(BUILD)/nginx/tree

$(NGINX_TREE)/objs/Makefile: nginx-module/config $(BUILD)/flags $(BUILD)/nginx/sources scripts/nginx-configure \
                             $(wildcard $(NGINX_SRC)/conf_flags)
	$(call SAY,CONFIGURE,$(NGINX_SRC))
	$(Q)CC='$(CC)' NGINX='$(NGINX)' scripts/nginx-configure '$(NGINX_SRC)' '$(NGINX_TREE)' nginx-module \
	    '$(CFLAGS) $(CPPFLAGS) $(SAN) -Wshadow -Wmissing-prototypes -Wstrict-prototypes' '$(LDFLAGS) $(SAN)'

# (the old file is replaced, not overwritten, since a running nginx may have it mapped)
$(NGINX_SO): $(NGINX_TREE)/objs/Makefile $(NGINX_DEPS)
	$(call SAY,MAKE,$@)
	$(Q)env -u MAKEFLAGS -u MFLAGS -u CFLAGS $(MAKE) -j$(CORES) $(if $(V),,-s) -C $(NGINX_TREE) \
	    -f objs/Makefile modules
	$(Q)$(if $(SAN),,scripts/nginx-load '$(NGINX)' $(NGINX_TREE)/objs/$(@F))
	$(Q)cp $(NGINX_TREE)/objs/$(@F) $@.new && mv -f $@.new $@

# ---- tests ----------------------------------------------------------------------------------------------------------

RESULTS := $(BUILD)/results

# The environment of the tests.
TEST_ENV = AIS_BUILD='$(abspath $(BUILD))' PYTHONDONTWRITEBYTECODE=1

# The daemons themselves are built without sanitizers, so the runtime must be preloaded.
ifneq ($(findstring address,$(SANITIZE)),)
TEST_ENV += AIS_PRELOAD="$$($(CC) -print-file-name=libasan.so)"
# This build is slow anyway, so nginx logs at debug level, to find leaked credentials (tests/harness/canary.py).
TEST_ENV += AIS_DEBUG_LOG=1
endif

# More arguments for pytest, for example PYTEST_ARGS='-k refusal -x'.
PYTEST_ARGS ?=

# How many test files run at the same time; see scripts/run-integration-tests.
PYTEST_JOBS ?= $(if $(SANITIZE),5,6)

.PHONY: check test test-unit test-integration
check:
	scripts/install-deps check
	$(MAKE) --no-print-directory $(PARALLEL) test

# TEST=NAME runs one test, in C or Python: see scripts/run-test.
TEST ?=
ifeq ($(TEST),)
test: all unit
	@rm -rf $(RESULTS)
	@status=0; \
	$(MAKE) --no-print-directory test-unit || status=1; \
	$(MAKE) --no-print-directory test-integration || status=1; \
	scripts/add-up-tests $(RESULTS) || status=1; \
	exit $$status
else
test:
	@$(TEST_ENV) PYTHON='$(PYTHON)' BUILD='$(BUILD)' MAKE='$(MAKE)' UNIT_WRAP='$(UNIT_WRAP)' scripts/run-test '$(TEST)'
endif

test-unit: unit
	@$(TEST_ENV) scripts/run-unit-tests --results $(RESULTS) --wrap '$(UNIT_WRAP)' $(UNIT)

# the programs that the Python tests run
.PHONY: test-programs
test-programs: nginx collectd $(DRIVER) $(BENCH_TOOLS)

test-integration: test-programs unit
	@$(TEST_ENV) PYTHON='$(PYTHON)' PYTEST_JOBS=$(PYTEST_JOBS) scripts/run-integration-tests $(RESULTS) $(PYTEST_ARGS)

# Writes the effects of each way in which the API may misbehave to docs/faults.md; test-integration compares them.
# ROW=NAME (or ROW="NAME NAME") only runs these rows again and compares them.
ROW ?=
.PHONY: faults
faults: nginx collectd
	@$(if $(ROW),AIS_FAULTS_ROWS='$(ROW)',AIS_WRITE_FAULTS=1) $(TEST_ENV) \
	    $(PYTHON) -m pytest -q -rP $(PYTEST_ARGS) tests/integration/test_faults.py

# The page in config/html, in Chromium. Each test starts its own browser and is idle most of the time.
.PHONY: test-page
test-page:
	-scripts/install-deps page
	@$(MAKE) --no-print-directory $(PARALLEL) nginx
	@rm -rf $(BUILD)/results-page
	@$(TEST_ENV) PYTHON='$(PYTHON)' PYTEST_JOBS=6 PYTEST_DIST=load PYTEST_MARK=page \
	    scripts/run-integration-tests $(BUILD)/results-page $(PYTEST_ARGS)

# The tests of make check, with all code of this project built with sanitizers. Tests that run none of this code, or build
# it themselves, are not repeated.
NOT_SANITIZED = bench build documentation harness simulator_*
.PHONY: asan
asan:
	scripts/install-deps check
	$(MAKE) --no-print-directory $(PARALLEL) BUILD=$(BUILD)/asan SANITIZE=address,undefined \
	    PYTEST_ARGS='$(NOT_SANITIZED:%=--ignore-glob=tests/integration/test_%.py) $(PYTEST_ARGS)' test

# With ThreadSanitizer: the unit tests, and the plugin's callbacks in many threads for TSAN_TIME seconds.
TSAN_TIME ?= 20
.PHONY: tsan tsan-test
tsan:
	scripts/install-deps check
	$(MAKE) --no-print-directory $(PARALLEL) BUILD=$(BUILD)/tsan SANITIZE=thread tsan-test

tsan-test: unit $(DRIVER)
	@rm -rf $(RESULTS)
	@mkdir -p $(RESULTS)
	@status=0; \
	$(MAKE) --no-print-directory test-unit || status=1; \
	$(TEST_ENV) AIS_THREADS_TIME=$(TSAN_TIME) $(PYTHON) -m pytest -q --junitxml=$(RESULTS)/integration.xml \
	    tests/integration/test_plugin_threads.py || status=1; \
	scripts/add-up-tests $(RESULTS) || status=1; \
	exit $$status

# All unit tests, and those integration tests that cover most of the code and do not measure time.
VALGRIND_TESTS ?= test_nginx_internal or test_plugin_threads \
    or test_nginx_errors and (failure or timeout) or test_nginx_lookup and conditional \
    or test_nginx_coalescing and goes_away or test_nginx_eviction and small_zone \
    or test_nginx_connections and (one_http_2_connection or died_while_idle) \
    or test_nginx_lifecycle and (reload or quits or fast_stop or unloaded or come_and_go) \
       and not twenty and not broken_certificates \
    or test_nginx_rotation and (clients_that_wait or at_once) \
    or test_collectd and not test_faults and (failing or through or tls or left_open or middle or two_plugin)
.PHONY: valgrind
valgrind:
	scripts/install-deps gates
	AIS_VALGRIND=1 $(MAKE) --no-print-directory $(PARALLEL) RESULTS=$(BUILD)/results-valgrind \
	    PYTEST_JOBS=3 PYTEST_ARGS='-k "$(VALGRIND_TESTS)"' \
	    UNIT_WRAP='valgrind --quiet --leak-check=full --error-exitcode=1' test

# nginx with random faults for SOAK_TIME seconds; collectd, half as long for each of three seeds, once with stops only
# and once with kills; and an outage as seen by Prometheus, three times as long. By default the outage takes half an hour,
# which is real time; if it is shorter, everything is sped up. SEED=n repeats the seed of an earlier run.
SOAK_TIME   ?= 600
CHAOS_TIME  ?= $(shell expr $(SOAK_TIME) / 2)
OUTAGE_TIME ?= $(shell expr $(SOAK_TIME) '*' 3)
SEED        ?=
.PHONY: soak
soak:
	scripts/install-deps check
	@$(MAKE) --no-print-directory $(PARALLEL) nginx collectd
	@$(TEST_ENV) PYTHONPATH=tests $(PYTHON) -m soak --time $(SOAK_TIME) $(SEED:%=--seed %)
	@$(TEST_ENV) PYTHONPATH=tests $(PYTHON) -m soak.collectd --time $(CHAOS_TIME) $(SEED:%=--seed %)
	@$(TEST_ENV) PYTHONPATH=tests $(PYTHON) -m soak.outage --time $(OUTAGE_TIME)

# clang-tidy and cppcheck must not report anything.
.PHONY: analyse
analyse: $(NGINX_TREE)/objs/Makefile
	scripts/install-deps gates
	@scripts/analyse $(NGINX_TREE) $(COLLECTD_INCLUDE)

# ---- fuzzing: each target is one file in tests/fuzz, with a corpus; new inputs are kept in build/fuzz ----------------

FUZZ_TARGETS := $(basename $(notdir $(wildcard tests/fuzz/*.c)))
FUZZ_BUILD   := $(BUILD)/fuzz
FUZZ_CC      ?= clang
FUZZ_FLAGS    = BUILD=$(FUZZ_BUILD) CC='$(FUZZ_CC)' SAN='-fsanitize=address,undefined -fno-sanitize-recover=all' \
                CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping' \
                LDFLAGS='$(LDFLAGS) -fprofile-instr-generate'

# nginx's target is a library that contains the module, and is loaded by a real nginx.
FUZZ_FILES    = $(patsubst $(FUZZ_BUILD)/target/nginx,$(FUZZ_BUILD)/target/nginx.so,$(FUZZ:%=$(FUZZ_BUILD)/target/%))

# The targets to run, the seconds for each, and how many run at the same time.
FUZZ      ?= $(FUZZ_TARGETS)
FUZZ_TIME ?= 60
FUZZ_JOBS ?= $(CORES)

# These rules are used by the make that fuzz-build starts, which has its own flags.
$(BUILD)/collectd-plugin/plugin.a: $(COLLECTD_OBJ) $(filter-out %/driver.o,$(STUB_OBJ))
	@rm -f $@
	$(call SAY,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/target/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(BUILD)/collectd-plugin/plugin.a $(LIB) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(COLLECTD_CFLAGS) $(BASE) -MF $@.d -fsanitize=fuzzer -o $@ $< \
	    $(LDFLAGS) $$(sed -n 's,^/\* LDFLAGS: \(.*\) \*/$$,\1,p' $<) $(BUILD)/collectd-plugin/plugin.a $(LIB) \
	    $(PKG_LIBS) -lpthread

NGX_INCLUDES = $(addprefix -isystem $(NGINX_TREE)/,src/core src/event src/event/modules src/os/unix src/http \
               src/http/modules src/http/v2 objs)

$(BUILD)/target/nginx.so: tests/fuzz/nginx.c tests/fuzz/fuzz.h $(NGINX_SO)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) -std=gnu11 $(BASE) -Icommon $(NGX_INCLUDES) $(PKG_CFLAGS) -shared -shared-libasan -o $@ $< \
	    $$(sed -n 's,^/\* LDFLAGS: \(.*\) \*/$$,\1,p' $<) $$(find $(NGINX_TREE)/objs/addon -name '*.o') -Wl,--whole-archive \
	    $$($(CC) -print-runtime-dir)/libclang_rt.fuzzer_no_main-$$(uname -m).a -Wl,--no-whole-archive \
	    $(PKG_LIBS) -lstdc++ -lpthread

.PHONY: fuzz fuzz-build fuzz-coverage fuzz-merge
fuzz-build:
	scripts/install-deps gates
	@$(MAKE) --no-print-directory $(PARALLEL) $(FUZZ_FLAGS) $(FUZZ_FILES)

fuzz: fuzz-build
	@NGINX='$(NGINX)' scripts/fuzz run --build $(FUZZ_BUILD) --time $(FUZZ_TIME) --jobs $(FUZZ_JOBS) $(FUZZ)

# How much of common/ the corpus covers, without the inputs that fuzzing has added in build/.
fuzz-coverage: FUZZ = $(FUZZ_TARGETS)
fuzz-coverage: fuzz-build
	@NGINX='$(NGINX)' scripts/fuzz coverage --build $(FUZZ_BUILD) --jobs $(FUZZ_JOBS) --least 95 $(FUZZ_TARGETS)

# Copies the inputs that fuzzing has added in build/ to the tree, if they increase coverage.
fuzz-merge: fuzz-build
	@NGINX='$(NGINX)' scripts/fuzz merge --build $(FUZZ_BUILD) --jobs $(FUZZ_JOBS) $(FUZZ)

# ---- the bench ------------------------------------------------------------------------------------------------------

$(BUILD)/bench/series.so: tests/bench/series/series.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(COLLECTD_CFLAGS) $(WARN) $(CFLAGS) -fPIC -shared -o $@ $<

$(BUILD)/bench/%: tests/bench/%.c tests/bench/bench.h $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) -std=gnu11 $(WARN) $(CFLAGS) -o $@ $<

# The complete bench takes about half an hour and requires an otherwise idle machine. BENCH='instructions cold' runs only
# these rows, BENCH=--quick shortens each row, BENCH=--help lists more options.
BENCH ?=
.PHONY: bench
bench:
	scripts/install-deps bench
	@$(MAKE) --no-print-directory nginx collectd $(BENCH_TOOLS)
	@$(TEST_ENV) PYTHONPATH=tests $(PYTHON) -m bench $(BENCH)

# ---- the rest -------------------------------------------------------------------------------------------------------

.PHONY: deps
deps:
	scripts/install-deps build

.PHONY: demo
demo:
	scripts/install-deps demo
	@$(MAKE) --no-print-directory $(PARALLEL) nginx collectd
	@AIS_BUILD='$(abspath $(BUILD))' PYTHONDONTWRITEBYTECODE=1 $(PYTHON) scripts/demo.py $(if $(ONCE),--once)

# Debian packages, in build/deb, and tests that install, upgrade and remove them on a fresh Debian.
.PHONY: deb test-packages
deb:
	scripts/install-deps deb
	@scripts/make-deb $(BUILD)/deb

test-packages: deb
	scripts/install-deps packages
	@$(TEST_ENV) $(PYTHON) -m pytest -q --junitxml=$(BUILD)/results-packages/packages.xml $(PYTEST_ARGS) tests/packages

.PHONY: install uninstall
install: nginx collectd
	install -D -m 644 $(NGINX_SO) $(DESTDIR)$(nginxmoddir)/$(notdir $(NGINX_SO))
	install -d $(DESTDIR)$(nginxconfdir)
	echo 'load_module $(nginxmoddir)/$(notdir $(NGINX_SO));' >$(DESTDIR)$(nginxconfdir)/mod-http-aisearch.conf
	install -D -m 644 $(COLLECTD_SO) $(DESTDIR)$(collectddir)/$(notdir $(COLLECTD_SO))
	install -D -m 644 $(COLLECTD_MAN) $(DESTDIR)$(mandir)/man5/$(notdir $(COLLECTD_MAN))
	install -d $(DESTDIR)$(docdir)/docs $(DESTDIR)$(docdir)/config
	install -m 644 README.md SECURITY.md LICENSE $(DESTDIR)$(docdir)
	install -m 644 $(wildcard docs/*.md docs/*.png) $(DESTDIR)$(docdir)/docs
	install -m 644 $(filter-out config/html,$(wildcard config/*)) $(DESTDIR)$(docdir)/config
	install -d $(DESTDIR)$(htmldir)
	install -m 644 $(wildcard config/html/*) $(DESTDIR)$(htmldir)
	@$(if $(DESTDIR),,echo 'Running daemons keep the version that they have loaded, even after a reload. To load the new one:' && \
	    echo '    nginx -t && service nginx upgrade   # without an interruption; an nginx of your own: kill -USR2, then -QUIT' && \
	    echo '    systemctl restart collectd')

uninstall:
	@scripts/still-used '$(DESTDIR)' '$(nginxetcdir)'
	rm -f $(DESTDIR)$(nginxmoddir)/ngx_http_aisearch_module.so $(DESTDIR)$(nginxconfdir)/mod-http-aisearch.conf
	rm -f $(DESTDIR)$(collectddir)/aisearch.so $(DESTDIR)$(mandir)/man5/collectd-aisearch.5
	rm -rf $(DESTDIR)$(docdir) $(DESTDIR)$(htmldir)

.PHONY: format
format:
	clang-format -i $(wildcard common/*.[ch] nginx-module/*.[ch] collectd-plugin/*.[ch] \
	    tests/unit/*.[ch] tests/plugin/*.[ch] tests/bench/*.[ch] tests/bench/series/*.c tests/fuzz/*.[ch])

.PHONY: clean
clean:
	rm -rf $(BUILD)

.PHONY: help
help:
	@echo 'make            build/nginx/ngx_http_aisearch_module.so and build/collectd/aisearch.so'
	@echo 'make deps       install the Debian packages that are required for building'
	@echo 'make demo       a demonstration: nginx and collectd with a simulated API, until Ctrl-C (ONCE=1: exit after the tour)'
	@echo 'make check      build, and run all tests; TEST=NAME: run one test, in C or Python'
	@echo 'make test-page  test the page in config/html, in Chromium'
	@echo 'make faults     rewrite docs/faults.md, the effects of each way in which the API may misbehave; ROW=NAME: check one row'
	@echo 'make asan       the tests of make check with AddressSanitizer and UndefinedBehaviorSanitizer, in build/asan'
	@echo 'make tsan       the unit tests, and the plugin in many threads, with ThreadSanitizer; TSAN_TIME=20 (seconds)'
	@echo 'make valgrind   the unit tests and some integration tests under valgrind'
	@echo 'make fuzz       run the fuzz targets in tests/fuzz for FUZZ_TIME=60 seconds each; FUZZ="url times": only these'
	@echo 'make fuzz-coverage   coverage of common/ by the corpus; make fuzz-merge: add new inputs to the corpus'
	@echo 'make soak       nginx and collectd with random faults, and an outage of 30 min; SOAK_TIME=600 scales all durations; SEED=n'
	@echo 'make analyse    run clang-tidy and cppcheck'
	@echo 'make bench      measure costs and savings, compared with the alternatives: docs/benchmarks.md'
	@echo 'make deb        build the Debian packages in build/deb; make test-packages: install, upgrade and remove them'
	@echo 'make install    install; variables: DESTDIR, prefix, nginxmoddir, nginxconfdir, collectddir, htmldir, mandir, docdir'
	@echo 'make uninstall  remove the installed files'
	@echo 'make format     run clang-format'
	@echo 'make clean      remove build/'
	@echo
	@echo 'demo, check, test-page, asan, deb and bench install missing Debian packages. Variables: V=1, CC, CFLAGS, LDFLAGS, BUILD,'
	@echo 'SANITIZE=address,undefined, NGINX_SRC=/path/to/nginx, NGINX=/path/to/sbin/nginx, PYTEST_ARGS="-k name".'

-include $(LIB_OBJ:.o=.d) $(COLLECTD_OBJ:.o=.d) $(STUB_OBJ:.o=.d) $(UNIT:=.d)
