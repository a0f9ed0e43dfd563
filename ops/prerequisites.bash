# What a machine needs to build Waybill, and how it gets it. Sourced by the scripts in this folder.
#
# On Debian or Ubuntu, missing packages are installed, as root or through sudo, with a message; where neither is possible,
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
    # The package list may be missing (container images have none) or old, so update it first. If that
    # fails (another apt is running, no network), the existing list may still be good enough.
    "${as_root[@]}" apt-get update -qq </dev/null >&2 || say "apt-get update failed, trying with the existing package list"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2 || die "$why: 'apt-get install $*' failed (see above)"
}

# Compiles and links a program, which checks the compiler, its headers and the linker: a bare 'gcc' without libc6-dev is not enough.
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
    # For a shell that was started before rustup was installed.
    if ! command -v cargo >/dev/null 2>&1 && [[ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    command -v cargo >/dev/null 2>&1 || die "no cargo on PATH: Waybill needs Rust $wanted or newer; $get"
    # Asked from inside the repository, so that its toolchain override applies.
    have=$(cd "$root" && cargo --version 2>/dev/null) ||
        die "'cargo --version' fails: no toolchain is set up; try 'rustup default stable', or $get"
    have=$(sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p' <<<"$have")
    version_at_least "$have" "$wanted" || die "cargo is $have, Waybill needs $wanted or newer: run 'rustup update', or $get"
}

# need_python_venv: Python with its venv module; Debian has a separate package for that, and fresh machines have neither.
need_python_venv() {
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 && return
    install_packages "no python3 that makes virtual environments (the conformance check runs in one)" python3 python3-venv
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || die "python3 on PATH still has no venv: is it a different one than Debian's?"
}

# need_curl: the examples of the pages are curl lines.
need_curl() {
    command -v curl >/dev/null 2>&1 || install_packages "no curl (the examples of the pages are run)" curl ca-certificates
}

# need_openssl: creates the certificates of NATS (ops/new-ca), and some for tests.
need_openssl() {
    command -v openssl >/dev/null 2>&1 || install_packages "no openssl (it makes the certificates of NATS)" openssl
}

# need_chromium: the browser that the dashboard is tested in.
need_chromium() {
    command -v chromium >/dev/null 2>&1 || install_packages "no chromium (the dashboard is tested in it)" chromium
}

# need_faketime: the library by which tests make the clock of the binary jump. Only Debian's path is checked.
need_faketime() {
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null && return
    if [[ ! -e /etc/debian_version ]]; then
        say "NOTE: no libfaketime on this system: the tests in which the clock of the binary jumps are skipped"
        return
    fi
    install_packages "no libfaketime (tests let the clock of the binary jump)" libfaketime
}

# need_rust_components: `cargo fmt` and `cargo clippy`; a minimal toolchain has neither.
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

# find_pip WORK: sets the array `pip` to a pip that runs. A fresh Debian has python3 without pip; if python3-venv is installed, a temporary
# environment in WORK provides one; otherwise Debian's python3-pip is installed.
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
    # python3 on PATH is not Debian's own (pyenv, a local build): use Debian's, which has the pip just installed.
    pip=(/usr/bin/python3 -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 || die "python3 still has no pip; install one"
}

# fetch_wheel WORK PACKAGE VERSION PLATFORM SHA256 PROGRAM: extracts a program from a PyPI wheel to WORK/PROGRAM and checks the wheel's hash. From PyPI,
# because every Debian can install its client, which honours the user's own index and proxy settings.
fetch_wheel() {
    local work=$1 package=$2 version=$3 platform=$4 sha256=$5 program=$6 got
    local -a pip wheels
    find_pip "$work"
    # The platform is given explicitly because an old pip does not recognise this machine's own. PIP_REQUIRE_VIRTUALENV is switched off, since it guards
    # installs and nothing is installed here.
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
