#!/bin/sh
# test_ptxas.sh NVCC FILE.cu: the default instances of a kernel compile for every architecture and keep all they
# have in registers. Not their traced twins: they are for diagnosis, and may spill. Nor sm_90 where test_sass.sh can read it.
set -eu
cd "$(dirname "$0")/.."
nvcc=$1
kernel=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# No rows: a tuned instance may spill and be the fastest all the same.
mkdir "$folder/results"
for kind in HOST HOST32 CUDA; do
	echo "#define TUNED_DEVICES_$kind(X, K)"
done >"$folder/results/tuned.h"

targets=
[ -n "$(scripts/nvdisasm)" ] && sm_90= || sm_90=90
for sm in 80 86 89 $sm_90 100 120; do
	targets="$targets -gencode arch=compute_$sm,code=sm_$sm"
done
# shellcheck disable=SC2086
"$nvcc" -std=c++20 -O3 -I "$folder" -I . -DWARPSMITH_UNTRACED $targets -Xptxas -v -c "$kernel" -o "$folder/kernel.o" \
	>"$folder/log" 2>&1 || {
	cat "$folder/log" >&2
	exit 1
}

awk -F "'" '
	/Compiling entry function/ { entry = $4 " " $2; n++ }
	/bytes stack frame/ && !/ 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads/ {
		print "spills: " entry $0
		bad = 1
	}
	END {
		print n + 0 " instances"
		exit bad || !n
	}' "$folder/log" | { command -v cu++filt >/dev/null && cu++filt || cat; } >"$folder/result"
cat "$folder/result"
! grep -q '^spills\|^0 instances' "$folder/result"
