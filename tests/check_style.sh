#!/bin/sh
# Sources are formatted (where clang-format 14 is installed: versions differ), headers compile alone, no line names a machine.
set -eu
cd "$(dirname "$0")/.."
bad=0

# Not formatted: what is generated.
if clang-format --version 2>/dev/null | grep -q 'version 14'; then
	for file in $(git ls-files '*.c' '*.h' '*.cu' '*.cc' '*.cpp' |
		grep -v '^results/\|^tests/planted/table/'); do
		clang-format --dry-run -Werror "$file" >/dev/null 2>&1 || {
			echo "not formatted: $file (make format)" >&2
			bad=1
		}
	done
fi

for header in $(git ls-files '*.h' | grep -v '^results/\|/results/'); do
	head -n 5 "$header" | grep -q '^// .*C++\|pragma once' && continue
	cc -std=c17 -Wall -Wextra -Werror -I. -DSIMT_WARP=1 -fsyntax-only -x c "$header" || {
		echo "does not compile alone as C17: $header" >&2
		bad=1
	}
done

if git grep -nIE '(^|[^A-Za-z0-9_.])/(work|root|home)/[a-z]' -- . ':!tests/check_style.sh' >&2; then
	echo "absolute paths of a machine" >&2
	bad=1
fi
exit $bad
