package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

// TestHandlerAgainstTesseraFsck lets Tessera's own checker, which shares no
// code with ours, rebuild the log from what the handler serves.
func TestHandlerAgainstTesseraFsck(t *testing.T) {
	key := newKey(t)
	l := open(t, t.TempDir(), key)
	grow(t, l, 1500)
	if _, _, err := l.Await(t.Context(), 1499); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	base, err := url.Parse(srv.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	fetcher, err := client.NewHTTPFetcher(base, srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	leaves := func(raw []byte) ([][]byte, error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(raw); err != nil {
			return nil, err
		}
		var hashes [][]byte
		for _, e := range b.Entries {
			hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
		}
		return hashes, nil
	}
	if err := fsck.New(testOrigin, key.Verifier(), fetcher, leaves, fsck.Opts{}).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHandlerServesOnlyWhatIsSigned(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, newKey(t))
	grow(t, l, 300)
	if _, _, err := l.Await(t.Context(), 299); err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, http.Header, []byte) {
		w := httptest.NewRecorder()
		l.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		body, _ := io.ReadAll(w.Body)
		return w.Code, w.Header(), body
	}
	for path, want := range map[string]int{ // bytes; 0 means not found
		"/tile/0/000":             256 * 32,
		"/tile/0/000.p/7":         7 * 32,
		"/tile/0/001.p/44":        44 * 32,
		"/tile/0/001.p/1":         32,
		"/tile/1/000.p/1":         32,
		"/tile/entries/000":       256 * 34,
		"/tile/entries/001.p/44":  44 * 34,
		"/tile/entries/001.p/3":   3 * 34,
		"/tile/0/001":             0,
		"/tile/0/001.p/45":        0,
		"/tile/1/000.p/2":         0,
		"/tile/1/000":             0,
		"/tile/9/000.p/1":         0,
		"/tile/00/000":            0,
		"/tile/0/0":               0,
		"/tile/0/000.p/0":         0,
		"/tile/0/000.p/256":       0,
		"/tile/0/x000/000":        0,
		"/tile/entries/002.p/1":   0,
		"/tile/0/x999/x999/999":   0,
		"/tile/../.state/version": 0,
		"/lock":                   0,
		"/.state/treeState":       0,
	} {
		code, head, body := get(path)
		switch {
		case want == 0 && code/100 == 2:
			t.Errorf("%s: %d bytes, want not found", path, len(body))
		case want > 0 && (code != 200 || len(body) != want):
			t.Errorf("%s: status %d, %d bytes, want %d", path, code, len(body), want)
		case want > 0 && !strings.Contains(head.Get("Cache-Control"), "immutable"):
			t.Errorf("%s: Cache-Control %q", path, head.Get("Cache-Control"))
		}
	}
	code, head, body := get("/checkpoint")
	cp, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if code != 200 || !bytes.Equal(body, cp) || head.Get("Cache-Control") != "public, max-age=1" {
		t.Errorf("checkpoint: status %d, %q, Cache-Control %q", code, body, head.Get("Cache-Control"))
	}
	if err := os.Remove(filepath.Join(dir, layout.TilePath(0, 0, 0))); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := get("/tile/0/000"); code != http.StatusInternalServerError {
		t.Errorf("lost tile: status %d, want 500", code)
	}
}

func TestParseCheckpoint(t *testing.T) {
	key, other := newKey(t), newKey(t)
	root := "\n" + "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" + "\n"
	sign := func(k *Key, text string) []byte {
		raw, err := note.Sign(&note.Note{Text: text}, k.Signer())
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	cp, err := ParseCheckpoint(sign(key, testOrigin+"\n7"+root), key.Verifier())
	if err != nil || cp != (Checkpoint{testOrigin, 7, sha256.Sum256(nil)}) {
		t.Errorf("%v, %v", cp, err)
	}
	for name, raw := range map[string][]byte{
		"another key":    sign(other, testOrigin+"\n7"+root),
		"another origin": sign(key, "x"+testOrigin+"\n7"+root),
		"leading zero":   sign(key, testOrigin+"\n07"+root),
		"extension":      sign(key, testOrigin+"\n7"+root+"more\n"),
		"short root":     sign(key, testOrigin+"\n7\nAAAA\n"),
		"empty":          nil,
		"too long":       bytes.Repeat([]byte("x"), maxCheckpoint+1),
	} {
		if cp, err := ParseCheckpoint(raw, key.Verifier()); err == nil {
			t.Errorf("%s: got %v", name, cp)
		}
	}
}

func FuzzParseStored(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1}, 64), uint16(2))
	f.Add(append([]byte{0, 32}, make([]byte, 32)...), uint16(1))
	f.Add([]byte(`{"size":1,"root":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`), uint16(1))
	f.Fuzz(func(t *testing.T, raw []byte, n uint16) {
		want := 1 + uint64(n)%tileWidth
		if h, err := parseTile(raw, want); err == nil && (uint64(len(h)) != want || !bytes.Equal(h[want-1][:], raw[(want-1)*32:want*32])) {
			t.Errorf("tile: %d hashes of %d bytes, want %d", len(h), len(raw), want)
		}
		if e, err := parseBundle(raw, want); err == nil && (uint64(len(e)) != want || !bytes.Equal(e[want-1][:], raw[want*34-32:want*34])) {
			t.Errorf("bundle: %d entries of %d bytes, want %d", len(e), len(raw), want)
		}
		parseState(raw)
	})
}

func FuzzParseCheckpoint(f *testing.F) {
	skey, _, err := NewLogKey(testOrigin)
	if err != nil {
		f.Fatal(err)
	}
	key, err := ParseKey(skey)
	if err != nil {
		f.Fatal(err)
	}
	text := testOrigin + "\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
	raw, err := note.Sign(&note.Note{Text: text}, key.Signer())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, mutated []byte) {
		// Ed25519 is deterministic: what verifies holds the very text signed.
		if cp, err := ParseCheckpoint(mutated, key.Verifier()); err == nil && (cp.Size != 7 || !bytes.HasPrefix(mutated, []byte(text))) {
			t.Errorf("accepted size %d from %q", cp.Size, mutated)
		}
	})
}

func FuzzHandlerPath(f *testing.F) {
	dir := f.TempDir()
	skey, _, err := NewLogKey(testOrigin)
	if err != nil {
		f.Fatal(err)
	}
	key, err := ParseKey(skey)
	if err != nil {
		f.Fatal(err)
	}
	l, err := Open(context.Background(), Options{Dir: dir, Key: key, CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	if _, err := l.Append(context.Background(), entries(0, 300)); err != nil {
		f.Fatal(err)
	}
	if _, _, err := l.Await(context.Background(), 299); err != nil {
		f.Fatal(err)
	}
	f.Add("0", "001.p/44")
	f.Add("entries", "x001/000")
	f.Add("0", ".p")
	f.Add("1", "000.p/1/.p/3")
	f.Fuzz(func(t *testing.T, level, path string) {
		body, err := l.tileBody(level, path)
		if err == nil && (len(body) == 0 || len(body) > maxBundle) {
			t.Errorf("%q/%q: %d bytes", level, path, len(body))
		}
	})
}
