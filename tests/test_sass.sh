#!/bin/sh
# test_sass.sh BIN-FOLDER KERNEL: the default and tuned instances of a kernel, compiled for sm_90 as the programs have them,
# are what tests/sass.c asks for; and it does notice a load less, or a spill more. No instance reads a constant from memory, and
# those with other values of the tunables have the bulk copies that they promise. Exits with 77 without nvdisasm or NVRTC.
set -eu
cd "$(dirname "$0")/.."
bin=$1
check="$1/sass tests/data/sass_exceptions.txt"
kernel=$2
nvdisasm=$(scripts/nvdisasm)
[ -n "$nvdisasm" ] || {
	echo "skipped: no nvdisasm to read compiled code with; scripts/bootstrap fetches one where pip can"
	exit 77
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# An image is one cubin behind the other.
"$bin/make_image" "$kernel" 90 "$folder/image"
sed -n 's/.*_code + \([0-9]*\),.*/\1/p' "$folder/image.c" | sort -nu | while read -r at; do
	tail -c "+$((at + 1))" "$folder/image" >"$folder/cubin"
	"$nvdisasm" -c "$folder/cubin"
done >"$folder/text"
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

"$bin/jit_image" "$kernel" "$folder/cubin"
"$nvdisasm" -c "$folder/cubin" >"$folder/others"
check="$check bulk"
$check <"$folder/others"
if grep -q UBLKCP "$folder/others"; then
	grep -v UBLKCP "$folder/others" >"$folder/planted"
	must_fail "a bulk copy less"
fi

# An object that the compiler did not fold has an address in constant bank 4, and the way to it delays every launch.
if grep -F 'c[0x4]' "$folder/text" "$folder/others"; then
	echo "$kernel: code reads template arguments from memory" >&2
	exit 1
fi
