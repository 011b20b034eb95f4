#!/bin/sh
# release.sh: makes what is handed out, in dist/: for each architecture an archive
# with the server, README, licenses, docs and deploy/, and SHA256SUMS.
# release.sh check: makes it once more from a clone in another folder, with an empty
# build cache, and says whether the bytes are the same (10 minutes).
set -eu
umask 022
cd "$(dirname "$0")/.."

if [ "${1-}" = check ]; then
	if [ -n "$(git status --porcelain)" ]; then
		echo "There are changes that are not committed: the clone would not have them." >&2
		exit 1
	fi
	scripts/release.sh
	again=$(mktemp -d)
	trap 'rm -rf "$again"' EXIT
	git clone -q . "$again/elsewhere"
	(cd "$again/elsewhere" && GOCACHE=$again/cache scripts/release.sh)
	diff dist/SHA256SUMS "$again/elsewhere/dist/SHA256SUMS"
	(cd "$again/elsewhere/dist" && sha256sum --quiet -c "$OLDPWD/dist/SHA256SUMS")
	echo "The same bytes, twice."
	exit
fi

VERSION=${VERSION:-$(git describe --tags --always --dirty)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
GOTOOLCHAIN=$(sed -n 's/^toolchain //p' go.mod) # whatever is installed here
export VERSION GOTOOLCHAIN

# The licenses of all that is linked in, which want to be handed on with it.
licenses() {
	GOOS=linux GOARCH=$1 CGO_ENABLED=0 go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/verbatim |
		LC_ALL=C sort -u | while read -r path version dir; do
		for file in "$dir"/LICENSE* "$dir"/LICENCE* "$dir"/COPYING* "$dir"/NOTICE*; do
			[ -f "$file" ] || continue
			printf '\n==== %s %s: %s\n\n' "$path" "$version" "${file##*/}"
			cat "$file"
		done
	done
	printf '\n==== Go %s: LICENSE\n\n' "$(go env GOVERSION)"
	cat "$(go env GOROOT)/LICENSE"
}

rm -rf dist
mkdir -p dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for arch in amd64 arm64; do
	name=verbatim-$VERSION-linux-$arch
	mkdir "$work/$name"
	git ls-files -z README.md LICENSE CHANGELOG.md docs deploy | xargs -0 cp --parents -t "$work/$name"
	licenses $arch >"$work/$name/LICENSES-OF-OTHERS"
	scripts/static.sh "$work/$name/verbatim" $arch
	tar -C "$work" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
		--mode='u+rwX,go+rX,go-w' -cf "$work/$name.tar" "$name"
	gzip -9n <"$work/$name.tar" >"dist/$name.tar.gz"
	echo "dist/$name.tar.gz"
done
(cd dist && sha256sum verbatim-*.tar.gz >SHA256SUMS)
