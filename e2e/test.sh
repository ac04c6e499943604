#!/usr/bin/env bash
# Every test that fits in ten minutes: what `make test` runs. The race detector
# needs a C compiler; it is installed when that is allowed, else left out and told.
set -euo pipefail
cd "$(dirname "$0")/.."

race=(-race)
if ! command -v gcc >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    for try in 1 2 3; do
      apt-get update -qq && apt-get install -y -qq gcc libc6-dev && break
      sleep $((try * 5))
    done
  elif sudo -n true 2>/dev/null; then
    sudo apt-get update -qq && sudo apt-get install -y -qq gcc libc6-dev
  fi
fi
if command -v gcc >/dev/null; then export CGO_ENABLED=1; else race=(); echo "test: no C compiler: the race detector is left out"; fi

go vet ./...
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
go test "${race[@]}" -timeout 10m -v ./... >"$out" 2>&1 || status=$?
grep -E '^(ok|FAIL|---? FAIL|panic:)|no test files' "$out" | grep -v 'no test files' || true
if [ "$status" -ne 0 ]; then
  grep -nE -B 30 '^\s*--- FAIL' "$out" | tail -200
fi
passed=$(grep -cE '^\s*--- PASS' "$out" || true)
failed=$(grep -cE '^\s*--- FAIL' "$out" || true)
skipped=$(grep -cE '^\s*--- SKIP' "$out" || true)
grep -B1 -E '^\s*--- SKIP' "$out" | grep -E '\.go:[0-9]+:' | sed 's/^ */test: skipped: /' || true
echo "test: not run here: test-faults, test-cluster, test-long (they come with later parts)"
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
