# shellcheck shell=bash disable=SC2034 # its variables are read by those who source it
# What targets/build, targets/run, tests/setup and tests/check share: the list of targets, their recipes, and the
# parts a recipe needs. Sourced with the repository's top as working directory; does nothing by itself.
#
# A target is a folder here. Its file `recipe` says what is particular to it (see targets/x86_64-unknown-linux-musl/recipe
# for the keys); its links `cc` and `ar` lead to targets/zcc.

TOP=$PWD
OUT=${CARGO_TARGET_DIR:-$TOP/target}
TOOLS=$TOP/target/tools
ZIGLANG=ziglang==0.14.1 # newer ones no longer carry musl's own allocator

skipped() { printf 'skipped: %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

all_targets() {
    local recipe
    for recipe in targets/*/recipe; do basename "$(dirname "$recipe")"; done
}

# The one target that a name means: its full name, or its beginning up to a dash (i686, mipsel, arm).
full_name() {
    local target
    for target in $(all_targets); do
        case $target in "$1" | "$1"-*) echo "$target" && return ;; esac
    done
    fail "no target '$1'; there are: $(all_targets | tr '\n' ' ')"
}

# Sets budget, std, linker, cc, rustflags, opt_level, emulator, zig_target, zig_cpu from the recipe of the target.
read_recipe() {
    budget='' std='' linker='' cc='' rustflags='' opt_level='' emulator='' zig_target='' zig_cpu=''
    # shellcheck disable=SC1090 # one file a target
    . "targets/$1/recipe"
}

# --- parts that rustup and pip bring ---------------------------------------------------------------------------

sysroot() { rustc --print sysroot; }

need_component() {
    case $1 in
        rust-src) [ -e "$(sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ] && return 0 ;;
        *) "cargo-${1/rustfmt/fmt}" --version >/dev/null 2>&1 && return 0 ;;
    esac
    rustup component add "$1" >/dev/null 2>&1 || { skipped "Rust component $1 (rustup component add $1)" && return 1; }
}

need_std() {
    [ -d "$(sysroot)/lib/rustlib/$1/lib" ] && return 0
    rustup target add "$1" >/dev/null 2>&1 || { skipped "std for $1 (rustup target add $1)" && return 1; }
}

# zig is C compiler, linker and libc for the targets whose std is built here. Sets ZIG, which targets/zcc runs.
need_zig() {
    if [ -z "${ZIG:-}" ]; then
        local python=$TOOLS/venv/bin/python
        if [ ! -x "$python" ] || ! "$python" -c 'import ziglang' 2>/dev/null; then
            echo "setup: installing $ZIGLANG into target/tools/venv"
            { python3 -m venv "$TOOLS/venv" && "$python" -m pip install --quiet "$ZIGLANG"; } >&2 ||
                { skipped "zig (python3 -m venv, pip install $ZIGLANG)" && return 1; }
        fi
        ZIG=$("$python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
    fi
    export ZIG
}
