package vectors_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

var update = flag.Bool("update", false, "write testdata anew")

// TestGenerated: the files are what this generator makes, byte for byte. Keys
// are fixed and ES256 nonces are RFC 6979's, so a second run changes nothing.
func TestGenerated(t *testing.T) {
	g := &generator{t: t, files: map[string]string{}, corpus: map[string][]byte{}}
	g.keys()
	g.statements()
	g.payloads()
	g.organisations()
	g.records()
	g.ups()
	g.traces()
	g.ledger()
	g.erasures()
	g.passports()
	g.mutations()
	g.checkFiles("corpus", g.corpus, "*")
	g.checkFiles("testdata", g.large(), "*.bin", "*.json")
	old, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		for _, name := range old {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range g.files {
			if err := os.WriteFile(filepath.Join("testdata", name+".txt"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	if len(old) != len(g.files) {
		t.Errorf("%d files, want %d: run go test ./vectors -update", len(old), len(g.files))
	}
	for name, want := range g.files {
		got, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the generator makes (%v): run go test ./vectors -update", name, err)
		}
	}
}

type generator struct {
	t      *testing.T
	files  map[string]string
	corpus map[string][]byte
}

// header lines come in the order given: name, value, name, value.
func (g *generator) add(name, expect, kind string, body []byte, header ...string) {
	g.t.Helper()
	if _, twice := g.files[name]; twice {
		g.t.Fatalf("two vectors named %s", name)
	}
	var b strings.Builder
	line := func(name, value string) {
		b.WriteString(strings.TrimSuffix(name+": "+value, " ") + "\n")
	}
	line("expect", expect)
	line("kind", kind)
	for i := 0; i < len(header); i += 2 {
		line(header[i], header[i+1])
	}
	b.WriteString("\n")
	for s := hex.EncodeToString(body); s != ""; {
		n := min(64, len(s))
		b.WriteString(s[:n] + "\n")
		s = s[n:]
	}
	g.files[name] = b.String()
}

func (g *generator) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func edKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string([]byte{seed}), 32)))
}

// rfc6979 is a P-256 key whose nonces are derived from the message.
type rfc6979 struct{ *ecdsa.PrivateKey }

func (k rfc6979) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.PrivateKey.Sign(nil, digest, opts)
}

func (g *generator) ecKey(seed byte) crypto.Signer {
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), []byte(strings.Repeat(string([]byte{seed}), 32)))
	g.must(err)
	return rfc6979{k}
}

func (g *generator) signer(k crypto.Signer) *statement.Signer {
	s, err := statement.NewSigner(k)
	g.must(err)
	return s
}

func (g *generator) sign(k crypto.Signer, kind statement.Kind, payload []byte) *statement.Statement {
	s, err := g.signer(k).Sign(statement.Header{Issuer: "urn:dev:mac:0024befffe804ff1", Subject: "0", Audience: "acme/staging", Kind: kind}, payload)
	g.must(err)
	return s
}

// encode writes maps and lists deterministically.
func (g *generator) encode(v any) []byte {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	g.must(err)
	b, err := mode.Marshal(v)
	g.must(err)
	return b
}

func envelope(protected, unprotected, payload, sig []byte) []byte {
	b := dcbor.AppendBytes([]byte{0xd2, 0x84}, protected)
	b = dcbor.AppendBytes(append(b, unprotected...), payload)
	return dcbor.AppendBytes(b, sig)
}

// signRaw signs any header rightly, with an Ed25519 key.
func signRaw(k ed25519.PrivateKey, protected, unprotected, payload []byte) []byte {
	return envelope(protected, unprotected, payload, ed25519.Sign(k, sigStructure(protected, payload)))
}

func sigStructure(protected, payload []byte) []byte {
	tbs := dcbor.AppendBytes(dcbor.AppendText([]byte{0x84}, "Signature1"), protected)
	return dcbor.AppendBytes(dcbor.AppendBytes(tbs, nil), payload)
}

// note signs a text as C2SP signed-note asks.
func (g *generator) note(k ed25519.PrivateKey, name, text string) []byte {
	vkey, err := note.NewEd25519VerifierKey(name, k.Public().(ed25519.PublicKey))
	g.must(err)
	v, err := note.NewVerifier(vkey)
	g.must(err)
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, v.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{1}, k.Seed()...))))
	g.must(err)
	b, err := note.Sign(&note.Note{Text: text}, s)
	g.must(err)
	return b
}

func hash(b []byte) statement.Hash { return sha256.Sum256(b) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}
