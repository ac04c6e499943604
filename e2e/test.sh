#!/usr/bin/env bash
# Every test that fits in ten minutes: what `make test` runs. The race detector
# needs a C compiler; it is installed when that is allowed, else left out and told.
set -euo pipefail
cd "$(dirname "$0")/.."

race=(-race)
# want installs Debian packages when the command or the file is missing and we may.
want() {
  local have=$1; shift
  if command -v "$have" >/dev/null || [ -e "$have" ]; then return; fi
  local sudo=
  if [ "$(id -u)" != 0 ]; then sudo -n true 2>/dev/null || return 0; sudo=sudo; fi
  command -v apt-get >/dev/null || return 0
  for try in 1 2 3; do
    $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null && return
    sleep $((try * 5))
  done
}
want gcc gcc libc6-dev
want pdftotext poppler-utils
want swtpm swtpm
want curl curl
want qemu-arm-static qemu-user-static
want tshark tshark
want openssl openssl
want /usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf fonts-droid-fallback
if command -v gcc >/dev/null; then export CGO_ENABLED=1; else race=(); echo "test: no C compiler: the race detector is left out"; fi

go vet ./...
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
go test "${race[@]}" -timeout 18m -v ./... >"$out" 2>&1 || status=$?
# What measures time runs without the race detector, as the commands were built.
if [ ${#race[@]} -gt 0 ]; then
  CGO_ENABLED=0 go test -trimpath -timeout 5m -v -run '^(TestRangeProofOfAnyWindow|TestJourneyIsFound)$' \
    ./gateway/internal/store ./gateway/internal/journey >>"$out" 2>&1 || status=$?
fi
grep -E '^(ok|FAIL|---? FAIL|panic:)|no test files' "$out" | grep -v 'no test files' || true
if [ "$status" -ne 0 ]; then
  grep -nE -B 30 '^\s*--- FAIL' "$out" | tail -200
fi
passed=$(grep -cE '^\s*--- PASS' "$out" || true)
failed=$(grep -cE '^\s*--- FAIL' "$out" || true)
skipped=$(grep -cE '^\s*--- SKIP' "$out" || true)
grep -B1 -E '^\s*--- SKIP' "$out" | grep -E '\.go:[0-9]+:' | sed 's/^ */test: skipped: /' || true
if command -v node >/dev/null && [ -e web/dist/verify/cli.mjs ]; then
  web=$(mktemp)
  (cd web && npm run --silent check && node --test --test-reporter=tap verify/test/) >"$web" 2>&1 || status=$?
  grep -E '^not ok' "$web" || true
  [ "$status" -eq 0 ] || tail -60 "$web"
  passed=$((passed + $(grep -cE '^ok ' "$web" || true)))
  failed=$((failed + $(grep -cE '^not ok ' "$web" || true)))
  rm -f "$web"
else
  echo "test: skipped: web/: no node or npm"
  skipped=$((skipped + 1))
fi
echo "test: not run here: test-long (the agent's budget over minutes, a month without a gateway)"
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
