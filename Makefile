# Sallyport. GNU make, no generator. Output goes to build/ only.
#   make            programs, libraries            make check ONLY=PATTERN   a part of the tests
#   make V=1        show the commands              make SAN=asan|tsan        sanitizer build, in a folder of its own
#   make CC=clang   the other compiler             make IPSEC_MB=no          without intel-ipsec-mb
SHELL := /bin/bash
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
AR      := $(if $(filter default,$(origin AR)),ar,$(AR))
SAN     ?=
PREFIX  ?= /usr/local
DESTDIR ?=
PYTHON  ?= /usr/bin/python3
# intel-ipsec-mb exists for x86 only; elsewhere OpenSSL does the ESP cryptography.
IPSEC_MB ?= $(if $(filter x86_64,$(shell uname -m)),yes,no)

# A build folder for each compiler and sanitizer, so that none overwrites another's objects.
VARIANT := $(patsubst -%,%,$(if $(filter clang%,$(notdir $(CC))),-clang)$(if $(SAN),-$(SAN))$(if $(filter no,$(IPSEC_MB)),-nomb))
B       := build$(if $(VARIANT),/$(VARIANT))
GEN     := build/gen
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-7s %s\n' "$(1)" "$(2)")

WARN := -Wall -Wextra -Werror -Wshadow -Wcast-qual -Wmissing-prototypes -Wstrict-prototypes \
        -Wpointer-arith -Wvla -Wundef -Wformat=2 -Wno-unused-parameter
HARD := -fstack-protector-strong -fPIC -D_FORTIFY_SOURCE=2
# clang's asan build is the fuzzers' too: with its coverage marks, which cost little elsewhere.
SANF_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -U_FORTIFY_SOURCE \
             $(if $(filter clang%,$(notdir $(CC))),-fsanitize=fuzzer-no-link)
SANF_tsan := -fsanitize=thread -U_FORTIFY_SOURCE
SANFLAGS := $(SANF_$(SAN))

PKGS     := libevent_core libfyaml jansson libmnl libnftables libcap-ng libcrypto
CPPFLAGS := -I. -I$(GEN) -Idriver/include -D_GNU_SOURCE $(if $(filter no,$(IPSEC_MB)),,-DHAVE_IPSEC_MB) \
            $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS   ?= -O2 -g
CFLAGS   += -std=gnu17 $(WARN) $(HARD) $(SANFLAGS)
LDFLAGS  += -pie -Wl,-z,relro,-z,now $(SANFLAGS)
LIBS     := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lfdt -lpthread $(if $(filter no,$(IPSEC_MB)),,-lIPSec_MB)


# --- the rooms: one archive each; an arrow in the design is a line here ------------------------------------------------
GENERATED := $(GEN)/firmware-if/card_if.h
src = $(sort $(foreach d,$(1),$(wildcard $(d)/*.c)))

ROOMS := cif card hwmodel hwserver base esp sa path data control main ctl
SRC_cif      := $(GEN)/firmware-if/card_if_names.c
SRC_card     := $(call src,driver/core driver/transport)
SRC_hwmodel  := $(call src,hwsim/model)
SRC_hwserver := $(filter-out hwsim/server/main.c,$(call src,hwsim/server))
SRC_base     := $(call src,hostd/base)
SRC_esp      := $(filter-out $(if $(filter no,$(IPSEC_MB)),hostd/esp/crypto_ipsec_mb.c),$(call src,hostd/esp))
SRC_sa       := $(call src,hostd/sa)
SRC_path     := $(call src,hostd/data/path)
SRC_data     := $(call src,hostd/data hostd/data/port hostd/data/host)
SRC_control  := $(call src,hostd/control)
SRC_main     := $(filter-out hostd/main/sallyportd.c,$(call src,hostd/main hostd/main/config))
SRC_ctl      := $(call src,tools/ctl)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
define room
$(B)/lib/lib$(1).a: $$(call obj,$$(SRC_$(1)))
	$$(call say,AR,$$@)
	$$(Q)mkdir -p $$(@D) && rm -f $$@ && $$(AR) rcs $$@ $$^
ARCHIVES += $(B)/lib/lib$(1).a
endef
$(foreach r,$(ROOMS),$(if $(SRC_$(r)),$(eval $(call room,$(r)))))

HOSTD_ROOMS := main control data path sa esp base ctl card cif
HWSIM_ROOMS := hwserver hwmodel cif
libs = $(filter $(ARCHIVES),$(patsubst %,$(B)/lib/lib%.a,$(1)))

PROGRAMS := $(if $(wildcard hostd/main/sallyportd.c),$(B)/bin/sallyportd) \
            $(if $(wildcard hwsim/server/main.c),$(B)/bin/hwsim) \
            $(patsubst tools/%.c,$(B)/bin/%,$(wildcard tools/*.c))
SHAPES   := $(patsubst hwsim/cards/%.dts,$(B)/cards/%.dtb,$(wildcard hwsim/cards/*.dts))

.PHONY: all
all: $(PROGRAMS) $(SHAPES)

link = $(call say,LD,$@) ; mkdir -p $(@D) && $(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) \
       -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS)

$(B)/bin/sallyportd: $(call obj,hostd/main/sallyportd.c) $(call libs,$(HOSTD_ROOMS))
	$(Q)$(link)
$(B)/bin/hwsim: $(call obj,hwsim/server/main.c) $(call libs,$(HWSIM_ROOMS))
	$(Q)$(link)
$(patsubst tools/%.c,$(B)/bin/%,$(wildcard tools/*.c)): $(B)/bin/%: $(B)/obj/tools/%.o $(call libs,ctl base)
	$(Q)$(link)

$(B)/obj/%.o: %.c | $(GENERATED)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/cards/%.dtb: hwsim/cards/%.dts
	$(call say,DTC,$<)
	$(Q)mkdir -p $(@D) && dtc -q -I dts -O dtb -o $@ $<

# --- the contract: one table source, everything else is made from it --------------------------------------------------
$(GEN)/firmware-if/card_if.h $(GEN)/firmware-if/card_if_names.c &: firmware-if/generate.py $(wildcard firmware-if/*.toml)
	$(call say,GEN,$(GEN)/firmware-if)
	$(Q)mkdir -p $(GEN)/firmware-if && $(PYTHON) firmware-if/generate.py --out $(GEN)/firmware-if firmware-if/*.toml

# --- tests: the layout of tests/unit mirrors the sources ----------------------------------------------------------------
UNIT_SRC := $(shell find tests/unit -name 'test_*.c' 2>/dev/null | sort)
UNIT     := $(patsubst %.c,$(B)/%,$(UNIT_SRC))
SIM_SRC  := $(call src,tests/sim)
VEC_PROG := $(patsubst %.c,$(B)/%,$(wildcard tests/vectors/*.c))
BENCH_PROG := $(patsubst %.c,$(B)/%,$(wildcard tests/bench/*.c))
TEST_LIBS = $(call libs,$(HOSTD_ROOMS) hwserver hwmodel)

$(UNIT): $(B)/%: $(B)/obj/%.o $(TEST_LIBS)
	$(Q)$(link) -lcmocka
$(VEC_PROG) $(BENCH_PROG): $(B)/%: $(B)/obj/%.o $(TEST_LIBS)
	$(Q)$(link)
$(B)/bin/sallyport-sim: $(call obj,$(SIM_SRC)) $(call libs,$(HOSTD_ROOMS) hwmodel)
	$(Q)$(link)

.PHONY: tests
tests: all $(UNIT) $(VEC_PROG) $(if $(SIM_SRC),$(B)/bin/sallyport-sim)

# ONLY=PATTERN runs the parts whose name matches (a shell pattern; see tests/run --list).
ONLY ?= *
.PHONY: check check-long soak
check: deps-check
check-long soak: deps-check-long
check check-long soak:
	$(Q)tests/run --tier $@ --only '$(ONLY)' --make '$(MAKE)'

# --- fuzzing (clang's libFuzzer): tests/fuzz/fuzz_*.c --------------------------------------------------------------------
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(patsubst %,$(B)/fuzz/%,$(FUZZ))
$(FUZZ_BIN): $(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(TEST_LIBS)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) -pie $(SANFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS)
.PHONY: fuzz fuzz-bins
fuzz-bins: $(FUZZ_BIN)
fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang SAN=asan fuzz-bins && tests/fuzz/run --seconds $(or $(SECONDS_EACH),30) --only '$(ONLY)'

# --- packages: one list for each target in .ci/packages; IKE peers are never installed into the system ---------------
.PHONY: deps deps-build deps-demo deps-check deps-check-long deps-bench
deps: deps-check
deps-build deps-demo deps-check deps-check-long deps-bench: deps-%:
	$(Q).ci/install-packages $*

# --- demo, bench, lint, format, install, clean ----------------------------------------------------------------------------
.PHONY: demo bench lint format clean
demo: deps-demo
	$(Q)$(MAKE) --no-print-directory all && tests/demo/run
bench: deps-bench
	$(Q)$(MAKE) --no-print-directory all && tests/bench/run
C_FILES = $(shell git ls-files -- '*.c' '*.h')
# cppcheck's look across files takes a pointer that is NULL together with a count of 0 for a fault.
lint:
	$(Q)cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
	    --suppress=missingIncludeSystem --suppress=ctunullpointer \
	    --suppress=ctuuninitvar --include=tests/lint/macros.h -I. -Idriver/include driver hwsim hostd tools
	$(Q)if clang-format --version | grep -q 'version 14\.'; then clang-format --dry-run -Werror $(C_FILES); \
	    else echo 'skipped: the format is checked by clang-format 14 alone, each version formats differently'; fi
format:
	$(Q)clang-format -i $(C_FILES)
clean:
	$(Q)rm -rf build

.PHONY: install
install: all
	$(Q)install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/sallyport/cards
	$(Q)install -m 755 $(B)/bin/sallyportd $(DESTDIR)$(PREFIX)/sbin/
	$(Q)install -m 755 $(filter-out %/sallyportd,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin/
	$(Q)install -m 644 hwsim/cards/*.dts $(DESTDIR)$(PREFIX)/share/sallyport/cards/

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
