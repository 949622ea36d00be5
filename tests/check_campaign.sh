#!/bin/sh
# scripts/campaign with programs that do nothing: one that fails ends it, and a second run goes on there.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin" "$folder/path"
cat >"$folder/program" <<'END'
#!/bin/sh
echo "${0##*/} $*" >>CALLS
[ "${0##*/}" != "$(cat BROKEN 2>/dev/null)" ]
END
sed "s|CALLS|$folder/calls|; s|BROKEN|$folder/broken|" "$folder/program" >"$folder/bin/warpsmith-run"
chmod +x "$folder/bin/warpsmith-run"
for program in bin/test_cuda_device bin/test_cuda_kernels bin/test_delays bin/test_prefill bin/warpsmith-tune bin/warpsmith-bench path/compute-sanitizer; do
	cp "$folder/bin/warpsmith-run" "$folder/$program"
done
cat >>"$folder/bin/warpsmith-run" <<END
case "\$*" in
*--print-ids*) for i in ball moved coins; do case "\$*" in *\$i*) cat "$root/tests/data/golden/tiny-\$i.ids.txt" ;; esac; done ;;
esac
END
echo 'echo "ERROR SUMMARY: 0 errors"' >>"$folder/path/compute-sanitizer"
PATH=$folder/path:$PATH
cd "$root"

# runs of a program
count() {
	grep -c "^$1 " "$folder/calls" || true
}

expect() {
	[ "$2" = "$3" ] || {
		echo "$1: $2, expected $3" >&2
		cat "$folder/calls" >&2
		exit 1
	}
}

echo warpsmith-bench >"$folder/broken"
if scripts/campaign "$folder/bin" "$folder/results" >/dev/null; then
	echo "a failing bench did not end the campaign" >&2
	exit 1
fi
expect "runs of the tuner" "$(count warpsmith-tune)" 10
expect "runs with delays" "$(count test_delays)" 1
expect "runs of the sanitizer" "$(count compute-sanitizer)" 16
expect "runs of the runner before bench" "$(count warpsmith-run)" 9

rm "$folder/broken"
scripts/campaign "$folder/bin" "$folder/results" >/dev/null
expect "runs of the tuner after a second run" "$(count warpsmith-tune)" 10
expect "runs of the bench" "$(count warpsmith-bench)" 4
expect "runs of the runner with decode and prompts" "$(count warpsmith-run)" 41

scripts/campaign "$folder/bin" "$folder/results" >/dev/null
expect "calls of a third run" "$(wc -l <"$folder/calls")" 90

echo '# another program' >>"$folder/bin/test_cuda_device"
scripts/campaign "$folder/bin" "$folder/results" >/dev/null
expect "calls with other programs" "$(wc -l <"$folder/calls")" 179
