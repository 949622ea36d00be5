#!/bin/sh
# What README.md says between its marks is what scripts/figures makes of results/. Plots may differ between gnuplot versions.
set -eu
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r README.md results plots scripts "$copy"
"$copy/scripts/figures"
diff -u README.md "$copy/README.md" >&2 || {
	echo "README.md differs from what scripts/figures makes of results/: run it" >&2
	exit 1
}
