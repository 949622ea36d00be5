#!/bin/sh
# run_readme.sh BIN-FOLDER FILE...: runs every line of the ```sh blocks of the documents as a user would, in a copy of the
# tree, with warpsmith-* from BIN-FOLDER. Blocks marked ```console, and lines that need a GPU, are left out.
set -eu
bin=$(cd "$1" && pwd)
shift
root=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
ln -s "$root/models" "$root/tests" "$copy"
cp -r "$root/results" "$root/plots" "$root/scripts" "$copy"
cd "$copy"
PATH=$bin:$PATH
export PATH

n=0
for document in "$@"; do
	awk '/^```sh$/ {on = 1; next} /^```/ {on = 0} on' "$root/$document" >commands
	while IFS= read -r command <&3; do
		[ -n "$command" ] || continue
		echo "+ $command"
		sh -c "$command" >output 2>&1 || {
			cat output
			echo "$document: failed: $command" >&2
			exit 1
		}
		n=$((n + 1))
	done 3<commands
done
[ "$n" -gt 0 ] || {
	echo "no command found in $*" >&2
	exit 1
}
echo "$n documented commands ran"
