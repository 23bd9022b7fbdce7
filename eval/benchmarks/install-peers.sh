#!/bin/sh
# The systems of `python -m eval.benchmarks peers`, each in an environment that its pins allow, under a folder:
#   sh eval/benchmarks/install-peers.sh FOLDER
# PYTHON names the interpreter, 3.11 to 3.13. FOLDER/torch is some gigabytes large.
set -eu
folder=${1:?usage: install-peers.sh FOLDER}
python=${PYTHON:-python3}
mkdir -p "$folder"

"$python" -m venv "$folder/torch"
"$folder/torch/bin/pip" install torch==2.11.0 fast-plaid==1.7.0.2110 xtr-warp-rs==2.1.0.2110

"$python" -m venv "$folder/others"
"$folder/others/bin/pip" install numpy lancedb==0.40.0 qdrant-edge-py==0.9.0
# TACHIOM's wheel asks for glibc 2.39, and runs with older ones too when it is unpacked by hand.
if ! "$folder/others/bin/pip" install tachiom==0.4.0 --only-binary :all:; then
    "$folder/others/bin/pip" download tachiom==0.4.0 --no-deps --only-binary :all: --platform manylinux_2_39_x86_64 --dest "$folder/wheels"
    site=$("$folder/others/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$python" -m zipfile -e "$folder"/wheels/tachiom-0.4.0-*.whl "$site"
fi
"$folder/others/bin/python" -c 'import tachiom'
