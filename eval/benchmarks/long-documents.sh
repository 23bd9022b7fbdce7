#!/bin/sh
# Measures long documents and token pooling anew: eval/benchmarks/long-documents.sh EVAL OUT [--docs 30 …]
# EVAL is a folder of judged collections in BEIR layout; MODEL=nano is the default. Hours on a slow machine.
set -eu
data=$1 out=$2
shift 2
measure() { python -m eval.benchmarks documents "$@" --model "${MODEL:-nano}" --out "$out"; }
for name in xquad-en scifact-en; do
    measure "$data/$name" --truncate 512 --pool-factor 1 --pool-factor 2 --pool-factor 3 --pool-factor 4 "$@"
done
for name in covidqa-long-en qmsum-en-train; do
    measure "$data/$name" "$@"
done
