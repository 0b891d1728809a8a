# Makes .venv with linewash and its extras EXTRA at pinned versions, unless it is up to date. Other scripts source it.
#
#   . scripts/venv.sh EXTRA      in the project's root; PYTHON=... selects another python3

extra=$1
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null; then
    echo "linewash needs Python 3.11 or newer, but $python is not installed: install it, or set PYTHON" >&2
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "linewash needs Python 3.11 or newer, but $python is $("$python" -V 2>&1): install a newer one, then run PYTHON=python3.11 $0" >&2
    exit 2
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "$python cannot make a virtual environment: install its venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2
    exit 2
fi

# The stamp is a checksum of the files that the environment was made from. When one changes, pip runs again.
stamp=".venv/.linewash-$extra"
checksum=$(cat pyproject.toml scripts/constraints.txt | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$checksum" ]; then
    echo "Installing linewash[$extra] into .venv; this takes a minute or two"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint scripts/constraints.txt --editable ".[$extra]"
    echo "$checksum" >"$stamp"
fi
