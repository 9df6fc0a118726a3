#!/bin/sh
# Makes a virtual environment: tools/make_venv.sh DIRECTORY [PYTHON].
# Without PYTHON it takes the first interpreter that really runs, is >= 3.10 and can make environments; 3.11 is asked first.
set -eu
directory=$1
check='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))'
for python in ${2:-python3.11 python3.12 python3.13 python3.10 python3 python}; do
    if "$python" -c "$check" 2>/dev/null; then
        echo "Making $directory with $("$python" --version) ..."
        exec "$python" -m venv --clear "$directory"
    fi
done
echo "No suitable Python found${2:+ at $2}: expected Python >= 3.10 with the venv module." >&2
echo "Fix: install one (on Debian: apt install python3-venv), or name it: make demo PYTHON=/path/to/python3.11" >&2
exit 1
