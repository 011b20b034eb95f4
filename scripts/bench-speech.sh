#!/bin/sh
# bench-speech.sh: makes the packets that `verbatim bench` sends (needs sox and
# opus-tools) from the sentences of internal/speech.
#
# The encoder's settings are those of libwebrtc: VoIP (4000=2048), for browser
# and meeting at most wideband (4004=1103), which is what our answer asks for;
# for default fullband whatever the material (4008=1105), since the sentences
# have nothing above 8 kHz. In the pauses of meeting it is in DTX (4016=1).
set -eu
cd "$(dirname "$0")/.."
out=internal/bench
tmp=$(mktemp -d)
trap 'rm -r "$tmp"' EXIT

encode() { # NAME RATE FLAG...
	name=$1 rate=$2
	shift 2
	sox "$tmp/$name.wav" -D -r "$rate" "$tmp/in.wav"
	opusenc --quiet --discard-comments --discard-pictures --set-ctl-int 4000=2048 "$@" "$tmp/in.wav" "$out/$name.opus"
}

a=internal/speech/sas-0870.wav b=internal/speech/sas-0880.wav c=internal/speech/sas-0890.wav
sox $a $b $c "$tmp/browser.wav"
cp "$tmp/browser.wav" "$tmp/default.wav"
# Three times as much pause as speech.
sox $a "$tmp/a.wav" pad 0 18
sox $b "$tmp/b.wav" pad 0 10
sox $c "$tmp/c.wav" pad 0 18.2
sox "$tmp/a.wav" "$tmp/b.wav" "$tmp/c.wav" "$tmp/meeting.wav"

encode browser 16000 --framesize 60 --bitrate 24 --set-ctl-int 4004=1103
encode default 48000 --framesize 20 --bitrate 32 --set-ctl-int 4008=1105
encode meeting 16000 --framesize 60 --bitrate 24 --set-ctl-int 4004=1103 --set-ctl-int 4016=1
