#!/bin/sh
# test_sass.sh NVCC CHECKER JIT_IMAGE KERNEL: the default and tuned instances of a kernel, compiled for sm_90 as the programs
# have them, are what tests/sass.c asks for; and it does notice a load less, or a spill more. What NVRTC makes of the kernel for
# the tuner reads no constant from memory and has the bulk copies that its configurations promise. Exits with 77 without nvdisasm.
set -eu
cd "$(dirname "$0")/.."
nvcc=$1
check="$2 tests/data/sass_exceptions.txt"
jit_image=$3
kernel=$4
nvdisasm=$(scripts/nvdisasm)
[ -n "$nvdisasm" ] || {
	echo "skipped: no nvdisasm to read compiled code with; scripts/bootstrap fetches one where pip can"
	exit 77
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$nvcc" -std=c++20 -O3 -I . -DWARPSMITH_UNTRACED -arch=sm_90 -cubin "kernels/$kernel.cu" -o "$folder/cubin"
"$nvdisasm" -c "$folder/cubin" >"$folder/text"
$check <"$folder/text" >"$folder/result" || {
	cat "$folder/result"
	exit 1
}
cat "$folder/result"

# must_fail WHAT: on a planted text
must_fail() {
	if $check <"$folder/planted" >"$folder/log" 2>&1; then
		echo "$kernel: $1 is not noticed" >&2
		exit 1
	fi
}

awk '{ print } /EXIT/ && !n++ { print "/*0*/ STL [R1], R2 ;" }' "$folder/text" >"$folder/planted"
must_fail "a spill"
if ! grep -q ' 0 with a promise' "$folder/result"; then
	promised=' LDG.*[.]128.*CONSTANT| LDGSTS.*[.]128'
	grep -Eq "$promised" "$folder/text" || promised=' LDG'
	awk -v promised="$promised" '$0 !~ promised || n++' "$folder/text" >"$folder/planted"
	must_fail "a load less"
fi

# An object that NVRTC did not fold has an address in constant bank 4, and the way to it delays every launch.
if "$jit_image" "$kernel" "$folder/cubin"; then
	"$nvdisasm" -c "$folder/cubin" >"$folder/text"
	if grep -F 'c[0x4]' "$folder/text"; then
		echo "$kernel: NVRTC's code reads template arguments from memory" >&2
		exit 1
	fi
	check="$check bulk"
	$check <"$folder/text"
	if grep -q UBLKCP "$folder/text"; then
		grep -v UBLKCP "$folder/text" >"$folder/planted"
		must_fail "a bulk copy less"
	fi
elif [ $? -ne 77 ]; then
	exit 1
fi
