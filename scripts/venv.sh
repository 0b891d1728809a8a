# Sourced by quickstart.sh and test.sh: makes .venv with one extra of linewash, at pinned versions, once.
#
#   . scripts/venv.sh EXTRA      (from the project's root; PYTHON names another python3)

extra=$1
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null; then
    echo "linewash needs Python 3.11 or newer, and there is no $python here: install it, or set PYTHON." >&2
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "linewash needs Python 3.11 or newer, and $python is $("$python" -V 2>&1): install one, then run: PYTHON=python3.11 $0" >&2
    exit 2
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "$python cannot make a virtual environment: install its venv module (Debian, Ubuntu: apt-get install python3-venv)." >&2
    exit 2
fi

# What the environment was made from; when either file changes it is brought up to date.
stamp=".venv/.linewash-$extra"
made_from=$(cat pyproject.toml scripts/constraints.txt | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$made_from" ]; then
    echo "Installing linewash[$extra] into .venv: a minute or two ..."
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint scripts/constraints.txt --editable ".[$extra]"
    echo "$made_from" >"$stamp"
fi
