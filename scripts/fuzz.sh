#!/bin/sh
# fuzz.sh TIME DIR TARGET: fuzzes one target. Prints its last word when it is
# done; when it has found something, all of it, and the input that did it.
#
# Go 1.26 now and then fails a fuzzer that found nothing, because its time is up
# (go.dev/issue/75804, a race in its coordinator). That is told apart by what it
# says: the deadline alone, and no failing input.
set -eu

out=$(mktemp)
trap 'rm -f "$out"' EXIT

time_is_up() {
	said=$(sed -n '/^--- FAIL:/,/^FAIL/p' "$out" | sed '1d;/^FAIL/d')
	[ "$said" = "    context deadline exceeded" ] && ! grep -q 'Failing input' "$out"
}

if go test -run '^$' -fuzz "^$3\$" -fuzztime "$1" -fuzzminimizetime 20x -parallel 1 "$2" >"$out" 2>&1 || time_is_up; then
	printf '%s %s: %s\n' "$2" "$3" "$(grep '^fuzz: elapsed' "$out" | tail -n 1 | sed 's/^fuzz: //')"
	exit
fi
cat "$out"
tail -n +1 "$2/testdata/fuzz/$3"/* 2>/dev/null || true
exit 1
