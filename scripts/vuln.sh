#!/bin/sh
# vuln.sh: looks for known vulnerabilities in what is linked in, as the toolchain
# that go.mod names builds it. The database is that of vuln.go.dev; it is made from
# its repository, golang.org/x/vulndb, which is fetched as modules are.
set -eu
cd "$(dirname "$0")/.."

GOTOOLCHAIN=$(sed -n 's/^toolchain //p' go.mod)
export GOTOOLCHAIN
db=$(mktemp -d)
trap 'rm -rf "$db"' EXIT
dir=$(go mod download -json golang.org/x/vulndb@latest | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
echo "The database is ${dir##*/}, Go is $(go env GOVERSION)."
go run -C "$dir" ./cmd/indexdb -vulns "$dir/data/osv" -out "$db"
go tool -modfile=tools/vuln.mod govulncheck -db="file://$db" ./...
