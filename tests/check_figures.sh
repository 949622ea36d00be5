#!/bin/sh
# What README.md says between its marks, and each results/<device>/REPORT.md, is what scripts/figures makes of results/. Plots may
# differ between gnuplot versions, but there is one for all that was measured.
set -eu
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r README.md results plots scripts "$copy"
rm -f "$copy"/results/*/*.svg "$copy"/results/*/REPORT.md
"$copy/scripts/figures" 2>"$copy/log" || {
	cat "$copy/log" >&2
	exit 1
}
for file in README.md results/*/REPORT.md; do
	diff -u "$file" "$copy/$file" >&2 || {
		echo "$file differs from what scripts/figures makes of results/: make report" >&2
		exit 1
	}
done
for file in results/*/*.svg; do
	[ -s "$copy/$file" ] || {
		echo "$file: scripts/figures draws no such plot" >&2
		exit 1
	}
done
