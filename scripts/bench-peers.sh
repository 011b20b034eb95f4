#!/bin/sh
# bench-peers.sh [FLAG...]: measures bin/verbatim and the servers of
# internal/bench/peers with the same packets, one after the other, and prints a
# table of ratios. The flags are for each `verbatim bench`.
#
# It fails when a server does not hold its first step: for peers that is
# 5 streams, for anyone it includes that all of their audio was decoded.
set -eu
cd "$(dirname "$0")/.."
peers=internal/bench/peers
python=${PYTHON:-/usr/bin/python3}
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT

bench() { # NAME FLAG...
	name=$1
	shift
	printf '\n%s\n' "$name"
	bin/verbatim bench --profile browser --json "$dir/$name" "$@"
}

peer() { # NAME COMMAND [FLAG...]
	name=$1 command=$2
	shift 2
	bench "$name" --peer "$command" --start 5 --step 25 "$@"
}

bench verbatim "$@"
peer aiortc "$python $peers/aiortc/server.py" "$@"
peer werift "node $peers/werift/server.mjs" "$@"

version() { node -p "require('./$peers/werift/node_modules/$1/package.json').version"; }
aiortc=$("$python" -c 'import aiortc; print(aiortc.__version__)')
opus=pion/opus
[ -z "${LIBOPUS-}" ] || opus=libopus

echo
go run ./internal/bench/compare \
	verbatim "$dir/verbatim" "$opus" \
	aiortc "$dir/aiortc" "aiortc $aiortc, uvloop, libopus to 16 kHz mono, no prefetch" \
	werift "$dir/werift" "werift $(version werift), Node $(node -p process.versions.node), ICE lite, libopus ($(version @discordjs/opus)) to 16 kHz mono"
