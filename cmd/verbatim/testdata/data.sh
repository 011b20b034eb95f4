#!/bin/sh
# data.sh NAME: makes NAME.tar.gz, a data folder as the programs in bin/ leave it
# behind (`make build`; needs curl, jq): what upgrade_test.go opens with the code
# of today. Run it at a release, before the schema or a file's format changes, and
# keep the older ones: people upgrade from those.
#
# In it: room "done", transcribed by PocketSphinx and recorded; room "left", whose
# recognizer was away, so that its track has ended and is pending; room "cut",
# whose server was killed while someone spoke.
set -eu
cd "$(dirname "$0")/../../.."
name=$1
tmp=$(mktemp -d)
trap 'rm -r "$tmp"' EXIT
mkdir "$tmp/data"
PATH="$PWD/bin:$PATH"
url=http://127.0.0.1:18080

start() { # RECOGNIZER
	verbatim serve --listen 127.0.0.1:18080 --media-listen 127.0.0.1:18081 --data "$tmp/data" --linger 200ms --drain 1s --recognizer "$1" >"$tmp/log" 2>&1 &
	server=$!
	until curl -sf $url/readyz >/dev/null; do sleep .1; done
}

stop() { # SIGNAL
	kill -s "$1" "$server"
	wait "$server" || true
}

speak() { # ROOM NAME FILE
	verbatim publish "internal/speech/$3.opus" --url $url --room "$1" --name "$2" --wait "$4"
}

until_meeting() { # ROOM JQ
	until curl -sf "$url/v1/meetings?room=$1" | jq -e ".meetings[0] | $2" >/dev/null; do sleep .1; done
}

start pocketsphinx:
speak done Ada sas-0880 2m
until_meeting done '.state == "complete"'
id=$(curl -s "$url/v1/meetings?room=done" | jq -r '.meetings[0].id')
curl -sf "$url/v1/meetings/$id/audio.flac" >/dev/null
stop TERM

start openai+http://127.0.0.1:9/v1
speak left Grace sas-0880 1s || true
until_meeting left '.state == "ended"'
stop TERM

start openai+http://127.0.0.1:9/v1
speak cut Edsger sas-0880 1s &
speaker=$!
until_meeting cut '.tracks[0].coverage.duration_ms > 2500'
stop KILL
wait $speaker || true

tar -C "$tmp/data" --sort=name --owner=0 --group=0 --numeric-owner --exclude lock -czf "cmd/verbatim/testdata/$name.tar.gz" .
ls -l "cmd/verbatim/testdata/$name.tar.gz"
