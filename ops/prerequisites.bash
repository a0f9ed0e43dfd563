# What a machine must have before Waybill can be built here, and how it gets it. Sourced by the scripts in this folder.
#
# Rule: on Debian or Ubuntu what is missing is installed, as root or through sudo after saying so; where neither is possible
# the exact command is printed and the script ends.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }

die() {
    say "ops/${0##*/}: $*"
    exit 1
}

# install_packages WHY PACKAGE...: Debian packages, or a message that names them.
install_packages() {
    local why=$1
    shift
    if ! command -v apt-get >/dev/null 2>&1; then
        die "$why: install what Debian calls '$*' with this system's package manager, then run this again"
    fi
    local -a as_root=()
    if [[ $(id -u) -eq 0 ]]; then
        say "$why: installing $*"
    else
        say "$why: installing $* through sudo"
        as_root=(sudo)
        [[ -t 2 ]] || as_root+=(-n) # nobody is there to type a password
        { command -v sudo && "${as_root[@]}" true; } >/dev/null ||
            die "$why: as root, run 'apt-get update && apt-get install -y --no-install-recommends $*', then run this again"
    fi
    # A package list may be missing (container images ship without) or old; updating first makes both right. When it
    # fails (another apt at work, no network) the list that is there may still do.
    "${as_root[@]}" apt-get update -qq </dev/null >&2 || say "apt-get update failed, trying with the package list that is there"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2 || die "$why: 'apt-get install $*' failed (see above)"
}

# Compiles, links and thereby proves a compiler, its headers and a linker: a bare 'gcc' without libc6-dev passes no build.
c_compiler_works() {
    local probe
    probe=$(mktemp) || return 1
    printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' |
        "${CC:-cc}" -x c - -o "$probe" >/dev/null 2>&1
    local rc=$?
    rm -f "$probe"
    return "$rc"
}

# The TLS library (aws-lc) and the linking step of every Rust program need it.
need_c_compiler() {
    c_compiler_works && return
    install_packages "no working C compiler (${CC:-cc})" build-essential
    c_compiler_works || die "'${CC:-cc}' still cannot compile and link a C program; is CC set to something else?"
}

# need_rust ROOT: a toolchain new enough for the workspace's rust-version.
need_rust() {
    local root=$1 wanted have get
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$root/Cargo.toml")
    get="get one with rustup (https://rustup.rs; Debian 13 and Ubuntu 24.04 also package it: 'apt-get install rustup && rustup default stable')"
    # A shell that has not read rustup's profile since it was installed.
    if ! command -v cargo >/dev/null 2>&1 && [[ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    command -v cargo >/dev/null 2>&1 || die "no cargo on PATH: Waybill needs Rust $wanted or newer; $get"
    # Asked from the tree, so that a toolchain override for it counts.
    have=$(cd "$root" && cargo --version 2>/dev/null) ||
        die "'cargo --version' fails: no toolchain is set up; try 'rustup default stable', or $get"
    have=$(sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p' <<<"$have")
    version_at_least "$have" "$wanted" || die "cargo is $have, Waybill needs $wanted or newer: run 'rustup update', or $get"
}

# need_rust_components: what `cargo fmt` and `cargo clippy` are; a minimal toolchain comes without.
need_rust_components() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    if command -v rustup >/dev/null 2>&1; then
        say "the Rust toolchain has no rustfmt or clippy: adding them"
        rustup component add rustfmt clippy </dev/null >&2 || die "'rustup component add rustfmt clippy' failed (see above)"
    else
        die "the Rust toolchain has no rustfmt or clippy: install what Debian calls 'rustfmt rust-clippy', then run this again"
    fi
}

# version_at_least HAVE WANTED, comparing MAJOR.MINOR.
version_at_least() {
    [[ $1 =~ ^([0-9]+)\.([0-9]+) ]] || return 1
    local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    [[ $2 =~ ^([0-9]+)\.([0-9]+) ]] || return 1
    ((major > BASH_REMATCH[1] || (major == BASH_REMATCH[1] && minor >= BASH_REMATCH[2])))
}
