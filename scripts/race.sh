#!/bin/sh
# race.sh ARG...: go test -race ARG... ./...
#
# Go's race detector now and then ends a test program with a failed check of its
# own ("ThreadSanitizer: CHECK failed"), or crashes in the runtime's timers, after
# which nothing is known about the program. That is told apart from a finding by
# what it says, and tried again: packages that passed are not run twice.
set -u

out=$(mktemp)
trap 'rm -f "$out"' EXIT

its_own_fault() {
	grep -qE 'ThreadSanitizer: CHECK failed|^runtime\.\(\*timer\)\.maybeRunChan' "$out" &&
		! grep -qE '^ *--- FAIL|DATA RACE|^panic:|^fatal error:|\[build failed\]' "$out"
}

for try in 1 2 3 4; do
	go test -race "$@" ./... >"$out" 2>&1
	failed=$?
	cat "$out"
	[ "$failed" -ne 0 ] || exit 0
	its_own_fault || exit "$failed"
	echo "race.sh: the race detector failed, not the tests (try $try)"
done
exit 1
