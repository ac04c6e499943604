package keyfile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func public(t *testing.T, s crypto.Signer) ed25519.PublicKey {
	t.Helper()
	pub, ok := s.Public().(ed25519.PublicKey)
	if !ok {
		t.Fatalf("public key is %T", s.Public())
	}
	return pub
}

func TestLoadOrCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "keys")
	path := filepath.Join(dir, "device.pem")
	a, created, err := LoadOrCreate(path)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	b, created, err := LoadOrCreate(path)
	if err != nil || created {
		t.Fatalf("second time: created %v, %v", created, err)
	}
	msg := []byte("reading")
	sig, err := a.Sign(rand.Reader, msg, crypto.Hash(0))
	if err != nil || !ed25519.Verify(public(t, b), msg, sig) {
		t.Errorf("the loaded key is another one (%v)", err)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, dir: 0o700} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, want %v (%v)", name, st.Mode().Perm(), want, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLoadOrCreateP256(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k", "ca.pem")
	a, created, err := LoadOrCreateP256(path)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	b, created, err := LoadOrCreateP256(path)
	if err != nil || created || !a.Public().(*ecdsa.PublicKey).Equal(b.Public()) {
		t.Errorf("second time: created %v, %v, another key", created, err)
	}
	if _, _, err := LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), "want Ed25519") {
		t.Errorf("as an Ed25519 key: %v", err)
	}
}

func TestCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k", "device.pem")
	var mu sync.Mutex
	seen := map[string]bool{}
	makers := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, created, err := LoadOrCreate(path)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			if created {
				makers++
			}
			seen[string(public(t, s))] = true
		})
	}
	wg.Wait()
	if len(seen) != 1 || makers != 1 {
		t.Errorf("%d keys by %d makers, want one", len(seen), makers)
	}
}

func TestRefused(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func(f func(old []byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, f(old), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod := func(m os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Chmod(path, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(*testing.T, string)
		want  string
	}{
		{"readable by the group", chmod(0o640), "mode 0640"},
		{"readable by others", chmod(0o604), "mode 0604"},
		{"executable by others", chmod(0o601), "mode 0601"},
		{"directory writable by others", func(t *testing.T, p string) { chmod(0o770)(t, filepath.Dir(p)) }, "can replace"},
		{"symbolic link", func(t *testing.T, p string) {
			if err := os.Rename(p, p+".real"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(p+".real", p); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
		{"link to nowhere", func(t *testing.T, p string) {
			if err := os.Remove(p); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(p+".none", p); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
		{"directory", func(t *testing.T, p string) {
			if err := os.Remove(p); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(p, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"named pipe", func(t *testing.T, p string) {
			if err := os.Remove(p); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(p, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"ECDSA", rewrite(func([]byte) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ecDER})
		}), "want Ed25519"},
		{"public key", rewrite(func([]byte) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}})
		}), "PEM type"},
		{"broken DER", rewrite(func([]byte) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{0x30, 1}})
		}), "PKCS #8"},
		{"empty", rewrite(func([]byte) []byte { return nil }), "no PEM"},
		{"two keys", rewrite(func(old []byte) []byte { return append(old, old...) }), "more than a PEM key"},
		{"text before", rewrite(func(old []byte) []byte { return append([]byte("key:\n"), old...) }), "more than a PEM key"},
		{"too long", rewrite(func(old []byte) []byte { return append(old, make([]byte, maxFile)...) }), "more than 4096 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "k", "device.pem")
			if _, _, err := LoadOrCreate(path); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, path)
			s, created, err := LoadOrCreate(path)
			if err == nil || s != nil || created || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "\nhint: ") {
				t.Errorf("got %v, created %v, want %q and a hint", err, created, c.want)
			}
		})
	}
}

func TestWrongOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k", "device.pem")
	if _, _, err := LoadOrCreate(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, os.Geteuid()+1, -1); err != nil {
		t.Skipf("needs the right to give files away: %v", err)
	}
	if _, _, err := LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), "belongs to user") {
		t.Errorf("a foreign key: %v", err)
	}
}

func TestDirectoryOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, created, err := LoadOrCreate(filepath.Join(dir, "device.pem")); err == nil || created {
		t.Error("a key was made where others can replace it")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzParse(f *testing.F) {
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, want := range []kind{ed25519Key, p256Key} {
			if key, err := parse(b, want); (err == nil) != (key != nil) || err == nil && !want.is(key) {
				t.Errorf("%s: key %T with error %v", want.name, key, err)
			}
		}
	})
}
