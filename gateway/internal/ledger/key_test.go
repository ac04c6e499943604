package ledger

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veraison/go-cose"
	"golang.org/x/mod/sumdb/note"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.key")
	made, err := CreateKeyFile(path, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o, want 0600", info.Mode().Perm())
	}
	read, err := LoadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if read.VerifierKey() != made.VerifierKey() || read.Origin() != testOrigin {
		t.Errorf("read %s, made %s", read.VerifierKey(), made.VerifierKey())
	}
	if _, err := CreateKeyFile(path, testOrigin); err == nil {
		t.Error("an existing key was replaced")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyFile(path); err == nil || !strings.Contains(err.Error(), "0640, want 0600") {
		t.Errorf("a key that others may read: %v", err)
	}
}

func TestOneKeySignsNotesAndReceipts(t *testing.T) {
	// A few keys, so that base64 with plus signs in it comes up as well.
	for range 64 {
		k := newKey(t)
		v, err := note.NewVerifier(k.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		signed, err := note.Sign(&note.Note{Text: testOrigin + "\n"}, k.Signer())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
			t.Fatal(err)
		}
		signer, err := cose.NewSigner(cose.AlgorithmEdDSA, k.CryptoSigner())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := signer.Sign(rand.Reader, []byte("receipt"))
		if err != nil {
			t.Fatal(err)
		}
		if !ed25519.Verify(k.PublicKey(), []byte("receipt"), sig) {
			t.Fatal("COSE signature is not of the note's key")
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	if _, _, err := NewLogKey("two words"); err == nil {
		t.Error("origin with a space")
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewKey(testOrigin, crypto.Signer(p256)); err == nil || !strings.Contains(err.Error(), "ecdsa.PublicKey") {
		t.Errorf("P-256 key: %v", err)
	}
	skey, vkey, err := NewLogKey(testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", vkey, skey[:len(skey)-4], skey[1:], skey + "AAAA"} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("parsed %d characters that are no key", len(text))
		} else if len(text) > 40 && strings.Contains(err.Error(), text[len(text)-40:]) {
			t.Errorf("error shows the key: %v", err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	skey, _, err := NewLogKey(testOrigin)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(skey)
	f.Add("PRIVATE+KEY+a+00000000+AQ==")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseKey(text); err == nil && len(k.PublicKey()) != ed25519.PublicKeySize {
			t.Errorf("public key of %d bytes", len(k.PublicKey()))
		}
	})
}
