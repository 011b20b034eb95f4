#!/bin/sh
# opus.sh makes opus.tar.gz: 0.36 s of noisy speech in each of the 32
# configurations of Opus (RFC 6716, table 2), mono and stereo, by libopus
# (opusenc, from Debian's opus-tools, and sox). The names are CONFIG-CHANNELS.
set -eu
cd "$(dirname "$0")"
out=$PWD/opus.tar.gz speech=$PWD/../../../internal/speech
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cd "$dir"

# Two voices, so that the channels differ; noise, so that all bands are used.
sox -R -M "$speech/sas-0870.wav" "$speech/sas-0890.wav" -r 48000 voices.wav trim 0.6 0.36
sox -R -n -r 48000 -c 2 -b 16 noise.wav synth 0.36 whitenoise vol 0.02
sox -R -m -v 1 voices.wav -v 1 noise.wav 2.wav remix 1v0.8,2v0.2 1v0.3,2v0.7
sox -R 2.wav 1.wav remix 1

# encode FIRST APPLICATION BANDWIDTH KBPS MILLISECONDS...
encode() {
	config=$1 application=$2 bandwidth=$3 kbps=$4
	shift 4
	cbr=
	[ "$config" -lt 12 ] || cbr=--hard-cbr # with it, SILK frames are padded
	for ms; do
		for channels in 1 2; do
			# OPUS_SET_APPLICATION (VOIP or RESTRICTED_LOWDELAY), _BANDWIDTH,
			# _FORCE_CHANNELS
			opusenc --quiet --speech $cbr --serial 1 --padding 0 --discard-comments --framesize "$ms" --bitrate $((kbps * (1 + channels) / 2)) \
				--set-ctl-int 4000="$application" --set-ctl-int 4008="$bandwidth" --set-ctl-int 4022="$channels" \
				$channels.wav "$(printf '%02d-%d.opus' "$config" "$channels")"
		done
		config=$((config + 1))
	done
}

encode 0 2048 1101 14 10 20 40 60   # SILK, narrowband
encode 4 2048 1102 16 10 20 40 60   # mediumband
encode 8 2048 1103 20 10 20 40 60   # wideband
encode 12 2048 1104 32 10 20        # hybrid, superwideband
encode 14 2048 1105 32 10 20        # fullband
encode 16 2051 1101 40 2.5 5 10 20  # CELT, narrowband
encode 20 2051 1103 48 2.5 5 10 20  # wideband
encode 24 2051 1104 56 2.5 5 10 20  # superwideband
encode 28 2051 1105 64 2.5 5 10 20  # fullband

tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - *.opus | gzip -9n >"$out"
