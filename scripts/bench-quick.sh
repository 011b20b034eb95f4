#!/bin/sh
# bench-quick.sh: what bin/verbatim takes for a stream, beside what it takes when
# RTP goes through pion, and beside the C program of internal/bench/floor. They
# are measured in turns and the best counts, so that the ratios hold on a machine
# that others use as well. It takes less than two minutes.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT

bench() { # NAME FLAG...
	name=$1
	shift
	bin/verbatim bench --profile browser --streams 150 --joins 60 --settle 1s --window 5s --no-profile --json "$dir/$name" "$@" >/dev/null
}

floor() { # NAME
	go run ./internal/bench/floor -file internal/bench/browser.opus -streams 150 -seconds 2 -rounds 1 -json "$dir/$1" >/dev/null
}

for round in 1 2; do
	echo "Round $round of 2"
	floor floor$round
	bench direct$round
	bench pion$round --server-flag=--no-direct-rtp
done

echo
set --
for round in 1 2; do
	set -- "$@" verbatim "$dir/direct$round" "" \
		"through pion" "$dir/pion$round" "--no-direct-rtp" \
		floor "$dir/floor$round" "C, libsrtp2, libopus: receives, decrypts, decodes"
done
go run ./internal/bench/compare -cpu "$@"
