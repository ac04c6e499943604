package backup

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClassOf(t *testing.T) {
	for path, want := range map[string]class{
		"organisation.json": plain, "claims/ABC.json": plain, "inbox/x.taken": plain, "inbox/x.cose.new": left, "authority/trust.cbor": plain,
		"gateway/statements/00.cose": plain, "gateway/statements/00.event": plain, "gateway/statements/00.leaves": plain, "ca/ca.pem": plain,
		"authority/authority.pem": left, "sim-authority/sim-authority.pem": left, "gateway/broker/lock": left, "somebody/else.pem": left,
		"site/site.pem": key, "brand/brand.pem": key, "organisation/organisation.pem": key, "ca/ca.key": key, "gateway/log.key": key, "gateway/chain-admin.pem": key,
		"gateway/chain/validator/config/priv_validator_key.json": key, "gateway/chain/validator/config/node_key.json": key,
		"gateway/chain/validator/data/state.journal": apart, "gateway/ledger/checkpoint": apart, "gateway/ledgers/2027h1/checkpoint": apart, "gateway/store.db": apart, "gateway/store.db-wal": apart,
	} {
		if got := classOf(path); got != want {
			t.Errorf("%s: class %d, want %d", path, got, want)
		}
	}
}

// made is a backup of one file, as a manifest lists it.
func made(t *testing.T, path, sum string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, own, "store.db"), []byte("rows"), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(Manifest{Version: 1, Files: []File{{Path: path, Size: 4, SHA256: sum}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ManifestFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// otherSum is not what the file hashes to.
const otherSum = "bc51e9e65d79e1c90ba544ab2eae1044ccdf8c1af7a559ba375cba4276f7d99f"

func TestRestoreRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "something"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, from, to, want string }{
		{"no manifest", t.TempDir(), filepath.Join(t.TempDir(), "new"), "no complete backup"},
		{"a folder in use", made(t, "gateway/store.db", otherSum), full, "is not empty"},
		{"a file that changed", made(t, "gateway/store.db", otherSum), filepath.Join(t.TempDir(), "new"), "hint: this backup is damaged"},
		{"a path out of it", made(t, "../store.db", otherSum), filepath.Join(t.TempDir(), "new"), "not below the backup"},
	} {
		if _, err := Restore(t.Context(), c.from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := os.Stat(filepath.Join(c.to, own, RestoredFile)); err == nil {
			t.Errorf("%s: marked as restored", c.name)
		}
	}
	used := t.TempDir()
	if err := os.MkdirAll(filepath.Join(used, own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(used, own, "store.db-wal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreStore(made(t, "gateway/store.db", otherSum), used); err == nil || !strings.Contains(err.Error(), "hint: move it away first") {
		t.Errorf("a database with a log beside it: %v", err)
	}
}
