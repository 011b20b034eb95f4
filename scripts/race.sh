#!/bin/sh
# race.sh ARG...: go test -race ARG... ./...
#
# The tests of cmd/verbatim wait for servers most of the time. They take longer than
# all others together, so they run in two halves beside them.
#
# Go's race detector now and then ends a test program with a failed check of its
# own ("ThreadSanitizer: CHECK failed"), or crashes, in its depot of stacks or in the
# runtime's timers, after which nothing is known about the program. That is told
# apart from a finding by what it says (a fault in Go code is a panic, one in a C
# library arrives "during cgo execution"), and tried again: packages that passed are
# not run twice.
set -u
cd "$(dirname "$0")/.."

slow=cmd/verbatim
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

its_own_fault() {
	grep -qE 'ThreadSanitizer: CHECK failed|^runtime\.\(\*timer\)\.maybeRunChan|^SIGSEGV: segmentation violation' "$1" &&
		! grep -qE '^ *--- FAIL|DATA RACE|^panic:|^fatal error:|\[build failed\]|during cgo execution' "$1"
}

# race NAME COMMAND...: runs it, again if need be; all that it says is in NAME.log.
race() {
	name=$1
	shift
	for try in 1 2 3 4; do
		"$@" >"$work/$name.try" 2>&1
		failed=$?
		cat "$work/$name.try" >>"$work/$name.log"
		[ "$failed" -ne 0 ] || return 0
		its_own_fault "$work/$name.try" || return "$failed"
		echo "race.sh: the race detector failed, not the tests (try $try)" >>"$work/$name.log"
	done
	return 1
}

# half N: every other test of the slow package.
half() {
	names=$(awk "NR % 2 == $1" "$work/names" | paste -sd '|')
	cd "$slow" && race "half$1" "$work/slow.test" -test.timeout 30m -test.run "^($names)\$"
}

go test -race "$@" -c -o "$work/slow.test" "./$slow" || exit 1
(cd "$slow" && "$work/slow.test" -test.list '^(Test|Fuzz|Example)') >"$work/names" || exit 1
half 0 &
first=$!
half 1 &
second=$!
race rest go test -race -p 1 -timeout 30m "$@" $(go list "$@" ./... | grep -v "/$slow\$")
failed=$?
wait $first || failed=1
wait $second || failed=1
cat "$work/rest.log" "$work/half0.log" "$work/half1.log"
[ "$failed" -eq 0 ] || echo "race.sh: something failed, see above" >&2
exit "$failed"
