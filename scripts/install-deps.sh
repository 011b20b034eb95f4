#!/bin/sh
# install-deps.sh run|test|bench: makes sure that what `make run`, `make test` or
# `make bench-peers` and `make floor` need is there. On Debian and its kin it
# installs what is missing; elsewhere it says what that is. When nothing is
# missing it does nothing, quickly.
set -eu
cd "$(dirname "$0")/.."

missing= # Debian packages

# need PACKAGE COMMAND...: PACKAGE is missing unless COMMAND succeeds.
need() {
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

have() { command -v "$1"; }

# Debian's modules belong to its own python3, whichever is first on the PATH.
debian_python() { "${PYTHON:-/usr/bin/python3}" -c "$1"; }

# gst_plugin NAME: GStreamer finds the plugin.
gst_plugin() {
	debian_python "import gi
gi.require_version('Gst', '1.0')
from gi.repository import Gst
Gst.init(None)
assert Gst.Registry.get().find_plugin('$1')"
}

check_run() {
	need gcc have gcc
	need libc6-dev test -e /usr/include/stdlib.h
	need pkg-config have pkg-config
	need libpocketsphinx-dev pkg-config --exists pocketsphinx
	need pocketsphinx have pocketsphinx_continuous
	need pocketsphinx-en-us test -e /usr/share/pocketsphinx/model/en-us/en-us/mdef
	[ -z "${LIBOPUS-}" ] || need libopus-dev pkg-config --exists opus
}

check_test() {
	check_run
	need chromium test -x "${CHROMIUM:-/usr/bin/chromium}"
	need firefox-esr test -x "${FIREFOX:-/usr/bin/firefox-esr}"
	need libopus-dev pkg-config --exists opus
	need flite have flite
	need opus-tools have opusenc
	need flac have flac
	need ffmpeg have ffprobe
	need sox have sox
	need curl have curl
	need jq have jq
	need postgresql sh -c 'ls /usr/lib/postgresql/*/bin/initdb'
	need sqlite3 have sqlite3
	need iproute2 have ip
	need nftables test -x /usr/sbin/nft
	need e2fsprogs test -x /sbin/mkfs.ext4
	need mount test -x /bin/mount
	need python3 have python3
	need python3-websockets debian_python 'import websockets'
	need python3-aiortc debian_python 'import aiortc'
	need python3-gi debian_python 'import gi'
	need python3-gst-1.0 debian_python "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.Structure.__getitem__"
	need gir1.2-gst-plugins-bad-1.0 debian_python "import gi; gi.require_version('GstWebRTC', '1.0')"
	need gstreamer1.0-plugins-base gst_plugin opus
	need gstreamer1.0-plugins-good gst_plugin rtp
	need gstreamer1.0-plugins-bad gst_plugin webrtc
	need gstreamer1.0-nice gst_plugin nice
	need nodejs have node
	need npm have npm
}

check_bench() {
	need gcc have gcc
	need libc6-dev test -e /usr/include/stdlib.h
	need pkg-config have pkg-config
	need libopus-dev pkg-config --exists opus
	need libsrtp2-dev pkg-config --exists libsrtp2
	need python3 have python3
	need python3-aiohttp debian_python 'import aiohttp'
	need python3-aiortc debian_python 'import aiortc'
	need python3-uvloop debian_python 'import uvloop'
	need nodejs have node
	need npm have npm
	# For a Node that @discordjs/opus has not been built for.
	need g++ have g++
	need make have make
}

check() {
	missing=
	"check_$1"
	missing=${missing# }
}

# fail LINE...
fail() {
	printf '%s\n' "$@" >&2
	exit 1
}

install() {
	manually="Missing: $missing (these are the names of Debian's packages)."
	if ! have apt-get >/dev/null; then
		hint=
		[ "$1" != run ] || hint="Or do without captions: \`make bin/verbatim && bin/verbatim serve --recognizer none:\` needs none of them."
		fail "$manually" "Install them with this system's package manager, then try again." ${hint:+"$hint"}
	fi

	sudo=
	if [ "$(id -u)" -ne 0 ]; then
		have sudo >/dev/null || fail "$manually" \
			"There is no sudo here; as root, run:" \
			"  apt-get update && apt-get install -y --no-install-recommends $missing"
		sudo=sudo
	fi
	echo "Installing $missing"
	$sudo apt-get update -qq
	# shellcheck disable=SC2086 # a list
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
	check "$1"
	[ -z "$missing" ] || fail "Still missing after the installation: $missing"
}

# node_packages DIR...
node_packages() {
	node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 11) ? 0 : 1)' ||
		fail "Node 20.11 or newer is needed; this is $(node --version)." \
			"Install a newer one (https://nodejs.org/en/download), then try again."
	for dir; do
		# npm keeps a copy of the lock file in what it installed.
		installed=$dir/node_modules/.package-lock.json
		if [ -z "$(find "$installed" -newer $dir/package-lock.json 2>/dev/null)" ]; then
			echo "Installing the npm packages of $dir"
			npm ci --prefix $dir --no-audit --no-fund
			touch "$installed"
		fi
	done
}

case ${1-} in
run | test | bench) ;;
*) fail "usage: scripts/install-deps.sh run|test|bench" ;;
esac

have go >/dev/null || fail "Go is not installed, or not on the PATH: see https://go.dev/doc/install"
check "$1"
[ -z "$missing" ] || install "$1"
case $1 in
test) node_packages web/e2e web/client ;;
bench) node_packages internal/bench/peers/werift ;;
esac
