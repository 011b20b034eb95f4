#!/bin/sh
# fuzz.sh TIME DIR TARGET: fuzzes one target. Prints its last word when it is
# done; when it has found something, all of it, and the input that did it.
set -eu
out=$(mktemp)
trap 'rm -f "$out"' EXIT
if go test -run '^$' -fuzz "^$3\$" -fuzztime "$1" -fuzzminimizetime 20x -parallel 1 "$2" >"$out" 2>&1; then
	printf '%s %s: %s\n' "$2" "$3" "$(grep '^fuzz: elapsed' "$out" | tail -n 1 | sed 's/^fuzz: //')"
	exit
fi
cat "$out"
tail -n +1 "$2/testdata/fuzz/$3"/* 2>/dev/null || true
exit 1
