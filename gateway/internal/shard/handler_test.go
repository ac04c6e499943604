package shard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"trailmark/statement"
)

// served is a gateway's ledgers over HTTP: 700 rows in one that is over, 40 in the
// current one.
func served(t *testing.T) (*bench, *httptest.Server) {
	t.Helper()
	b := &bench{dir: t.TempDir(), now: before}
	if err := b.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	step := func(n int) {
		t.Helper()
		if err := b.add(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if _, err := b.shelf.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.shelf.Append(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	step(700)
	b.now = after
	step(0)
	step(40)
	if _, _, err := b.shelf.Current().Await(t.Context(), 39); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(b.shelf.Handler())
	t.Cleanup(srv.Close)
	return b, srv
}

func get(t *testing.T, srv *httptest.Server, path string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	r, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, body
}

// TestList lists the ledgers with what a client needs to read them.
func TestList(t *testing.T) {
	_, srv := served(t)
	r, body := get(t, srv, "/ledgers")
	var list struct{ Ledgers []listed }
	if err := json.Unmarshal(body, &list); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s (%v)", r.Status, body, err)
	}
	if len(list.Ledgers) != 2 {
		t.Fatalf("%s", body)
	}
	for i, want := range []listed{{Origin: first, Path: "/ledgers/2026h2", Size: 700, Closed: true}, {Origin: second, Path: "/ledgers/2027h1", Size: 40}} {
		got := list.Ledgers[i]
		v, err := note.NewVerifier(got.Key)
		if err != nil || v.Name() != want.Origin {
			t.Errorf("key %q (%v)", got.Key, err)
		}
		if got.Key = ""; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// TestTesseraReadsOurLedgers lets Tessera's client and its checker read both
// ledgers, unchanged, at the addresses that the list gives and at the current one's.
func TestTesseraReadsOurLedgers(t *testing.T) {
	b, srv := served(t)
	for _, at := range []struct {
		path, origin string
		row          uint64
	}{{"/ledgers/2026h2/", first, 0}, {"/ledgers/2027h1/", second, 700}, {"/", second, 700}} {
		k, _ := b.shelf.Named(at.origin)
		v, err := statement.LogVerifier(at.origin, publicKey(t))
		if err != nil {
			t.Fatal(err)
		}
		base, err := url.Parse(srv.URL + at.path)
		if err != nil {
			t.Fatal(err)
		}
		fetcher, err := client.NewHTTPFetcher(base, srv.Client())
		if err != nil {
			t.Fatal(err)
		}
		leaves := func(raw []byte) (out [][]byte, err error) {
			var bundle api.EntryBundle
			if err := bundle.UnmarshalText(raw); err != nil {
				return nil, err
			}
			for _, e := range bundle.Entries {
				out = append(out, rfc6962.DefaultHasher.HashLeaf(e))
			}
			return out, nil
		}
		if err := fsck.New(at.origin, v, fetcher, leaves, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
			t.Errorf("%s: tessera's fsck: %v", at.path, err)
		}
		cp, _, _, err := client.FetchCheckpoint(t.Context(), fetcher.ReadCheckpoint, v, at.origin)
		if err != nil {
			t.Fatalf("%s: %v", at.path, err)
		}
		size, err := k.Ledger.Size(t.Context())
		if err != nil || cp.Size != size {
			t.Fatalf("%s: size %d, want %d (%v)", at.path, cp.Size, size, err)
		}
		pb, err := client.NewProofBuilder(t.Context(), cp.Size, fetcher.ReadTile)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []uint64{0, 17, size - 1} {
			p, err := pb.InclusionProof(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			entry := sha256.Sum256(data(at.row + i))
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, i, cp.Size, rfc6962.DefaultHasher.HashLeaf(entry[:]), p, cp.Hash); err != nil {
				t.Errorf("%s: entry %d: %v", at.path, i, err)
			}
		}
		// Its tracker of a growing log accepts the state and its proofs.
		if _, err := client.NewLogStateTracker(t.Context(), fetcher.ReadTile, nil, v, at.origin, client.UnilateralConsensus(fetcher.ReadCheckpoint)); err != nil {
			t.Errorf("%s: tessera's tracker: %v", at.path, err)
		}
	}
}

// TestTorchwoodReadsOurLedgers: a second client that shares no code with the first.
func TestTorchwoodReadsOurLedgers(t *testing.T) {
	_, srv := served(t)
	for _, at := range []struct {
		path, origin string
		row, size    uint64
	}{{"/ledgers/2026h2", first, 0, 700}, {"/ledgers/2027h1", second, 700, 40}, {"", second, 700, 40}} {
		fetcher, err := torchwood.NewTileFetcher(srv.URL+at.path, torchwood.WithHTTPClient(srv.Client()))
		if err != nil {
			t.Fatal(err)
		}
		c, err := torchwood.NewClient(fetcher)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := fetcher.ReadEndpoint(t.Context(), "checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		v, err := statement.LogVerifier(at.origin, publicKey(t))
		if err != nil {
			t.Fatal(err)
		}
		policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(at.origin), torchwood.SingleVerifierPolicy(v))
		cp, _, err := torchwood.VerifyCheckpoint(raw, policy)
		if err != nil {
			t.Fatalf("%s: %v", at.path, err)
		}
		next := uint64(0)
		for i, entry := range c.AllEntries(t.Context(), cp.Tree, 0) {
			want := sha256.Sum256(data(at.row + next))
			if uint64(i) != next || !bytes.Equal(entry, want[:]) {
				t.Fatalf("%s: entry %d is %x", at.path, i, entry)
			}
			next++
		}
		if err := c.Err(); err != nil || next != at.size {
			t.Fatalf("%s: %d entries of %d (%v)", at.path, next, at.size, err)
		}
		// Our proof in C2SP's form, checked by their verifier.
		entry := sha256.Sum256(data(at.row + 11))
		r, text := get(t, srv, at.path+"/proof/inclusion?format=tlog-proof&entry="+hex.EncodeToString(entry[:]))
		if r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s: %s", at.path, r.Status, text)
		}
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(entry[:]), text); err != nil {
			t.Errorf("%s: %v\n%s", at.path, err, text)
		}
		other := sha256.Sum256(data(at.row + 12))
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(other[:]), text); err == nil {
			t.Errorf("%s: the proof proves another entry", at.path)
		}
	}
}

func publicKey(t *testing.T) statement.Key {
	t.Helper()
	k, err := statement.NewKey(key().Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func unhex(t *testing.T, in ...string) (out [][]byte) {
	t.Helper()
	for _, s := range in {
		h, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h)
	}
	return out
}

// TestProofs verifies the JSON proofs with a library that knows nothing of us.
func TestProofs(t *testing.T) {
	_, srv := served(t)
	for _, c := range []struct {
		path        string
		row         uint64
		size        string
		index, want uint64
		origin      string
	}{
		{"/proof/inclusion", 3, "", 3, 700, first}, // whichever ledger has it
		{"/proof/inclusion", 705, "", 5, 40, second},
		{"/ledgers/2026h2/proof/inclusion", 3, "4", 3, 4, first},
		{"/ledgers/2026h2/proof/inclusion", 699, "", 699, 700, first},
		{"/ledgers/2027h1/proof/inclusion", 700, "1", 0, 1, second},
	} {
		entry := sha256.Sum256(data(c.row))
		path := c.path + "?entry=" + hex.EncodeToString(entry[:])
		if c.size != "" {
			path += "&size=" + c.size
		}
		r, body := get(t, srv, path)
		var p inclusionProof
		if err := json.Unmarshal(body, &p); err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s (%v)", path, r.Status, body, err)
		}
		if p.Origin != c.origin || p.Index != c.index || p.Size != c.want || (p.Checkpoint != "") != (c.size == "") {
			t.Errorf("%s: %+v", path, p)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, p.Size, rfc6962.DefaultHasher.HashLeaf(entry[:]), unhex(t, p.Proof...), unhex(t, p.Root)[0]); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, c := range []struct {
		path          string
		first, second uint64
	}{{"/ledgers/2026h2/proof/consistency?first=1&second=699", 1, 699}, {"/ledgers/2026h2/proof/consistency?first=300", 300, 700},
		{"/proof/consistency?first=7", 7, 40}, {"/proof/consistency?first=0", 0, 40}, {"/proof/consistency?first=40", 40, 40}} {
		r, body := get(t, srv, c.path)
		var p consistencyProof
		if err := json.Unmarshal(body, &p); err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s (%v)", c.path, r.Status, body, err)
		}
		roots := unhex(t, p.FirstRoot, p.SecondRoot)
		if p.First != c.first || p.Second != c.second {
			t.Errorf("%s: %+v", c.path, p)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, p.First, p.Second, unhex(t, p.Proof...), roots[0], roots[1]); err != nil {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}

// TestRefusedRequests answers what it cannot do with a problem and never with a 500.
func TestRefusedRequests(t *testing.T) {
	_, srv := served(t)
	entry := sha256.Sum256(data(3))
	here := "entry=" + hex.EncodeToString(entry[:])
	for path, want := range map[string]int{
		"/ledgers/2030h1/checkpoint":                                      404,
		"/ledgers/2026h2":                                                 404,
		"/ledgers/..%2f2026h2/checkpoint":                                 404,
		"/ledgers/2027h1/proof/inclusion?" + here:                         404, // it is in the other one
		"/proof/inclusion":                                                400,
		"/proof/inclusion?entry=abc":                                      400,
		"/proof/inclusion?entry=" + strings.Repeat("00", 32):              404,
		"/proof/inclusion?entry=" + strings.Repeat("00", 33):              400,
		"/proof/inclusion?" + here + "&size=3":                            404,
		"/proof/inclusion?" + here + "&size=701":                          404,
		"/proof/inclusion?" + here + "&size=-1":                           400,
		"/proof/inclusion?" + here + "&size=18446744073709551616":         400,
		"/proof/inclusion?" + here + "&format=xml":                        400,
		"/proof/inclusion?" + here + "&size=5&format=tlog-proof":          400,
		"/proof/inclusion?" + here + "&" + here:                           400,
		"/proof/inclusion?" + here + "&more=1":                            400,
		"/proof/inclusion?%zz":                                            400,
		"/proof/consistency":                                              400,
		"/proof/consistency?first=9&second=8":                             400,
		"/proof/consistency?first=1&second=41":                            404,
		"/proof/consistency?first=01":                                     400,
		"/proof/other":                                                    404,
		"/ledgers/2026h2/proof/consistency?first=1&second=99999999999999": 404,
	} {
		r, body := get(t, srv, path)
		var p struct {
			Title, Detail string
			Status        int
		}
		if err := json.Unmarshal(body, &p); r.StatusCode != want || r.Header.Get("Content-Type") != "application/problem+json" || err != nil || p.Status != want || p.Detail == "" {
			t.Errorf("%s: %d %s: %s, want %d", path, r.StatusCode, r.Header.Get("Content-Type"), body, want)
		}
	}
	for _, path := range []string{"/ledgers", "/proof/inclusion", "/ledgers/2026h2/checkpoint"} {
		r, err := srv.Client().Post(srv.URL+path, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode < 400 || r.StatusCode > 499 {
			t.Errorf("POST %s: %s", path, r.Status)
		}
	}
}

// TestCaching: what is at an address of one ledger never changes and may be kept;
// what is at the current one's is asked for again.
func TestCaching(t *testing.T) {
	_, srv := served(t)
	for path, want := range map[string]string{
		"/ledgers/2026h2/tile/0/000":          "public, max-age=31536000, immutable",
		"/ledgers/2026h2/tile/entries/001":    "public, max-age=31536000, immutable",
		"/ledgers/2027h1/tile/0/000.p/40":     "public, max-age=31536000, immutable",
		"/tile/0/000.p/40":                    "no-cache",
		"/checkpoint":                         "public, max-age=1",
		"/ledgers/2026h2/checkpoint":          "public, max-age=1",
		"/ledgers":                            "no-cache",
		"/proof/consistency?first=1":          "no-cache",
		"/proof/consistency?first=1&second=2": "public, max-age=300",
	} {
		r, body := get(t, srv, path)
		if r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != want || r.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %s, %q, want %q", path, r.Status, r.Header.Get("Cache-Control"), want)
		}
		if strings.Contains(path, "ledgers/") || strings.HasPrefix(path, "/tile") {
			tag := r.Header.Get("ETag")
			again, _ := get(t, srv, path, "If-None-Match", tag)
			if tag == "" || again.StatusCode != http.StatusNotModified {
				t.Errorf("%s: with the ETag %q of %d bytes: %s", path, tag, len(body), again.Status)
			}
		}
	}
	old, _ := get(t, srv, "/ledgers/2026h2/tile/0/000.p/40")
	now, _ := get(t, srv, "/ledgers/2027h1/tile/0/000.p/40")
	if old.Header.Get("ETag") == now.Header.Get("ETag") {
		t.Error("tiles of two ledgers have one ETag")
	}
}

func FuzzHandler(f *testing.F) {
	b := &bench{dir: f.TempDir(), now: before}
	ctx := context.Background()
	if err := b.open(ctx); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { b.close() })
	if err := b.add(ctx, 5); err != nil {
		f.Fatal(err)
	}
	if err := b.shelf.Append(ctx); err != nil {
		f.Fatal(err)
	}
	if _, _, err := b.shelf.Current().Await(ctx, 4); err != nil {
		f.Fatal(err)
	}
	h := b.shelf.Handler()
	entry := sha256.Sum256(data(3))
	for _, s := range []string{"/proof/inclusion?entry=" + hex.EncodeToString(entry[:]), "/proof/consistency?first=1&second=5", "/ledgers/2026h2/tile/0/000.p/5", "/ledgers"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(u.Path, "/") {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = u
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%q: %s", target, fmt.Sprint(w.Code, w.Body))
		}
	})
}
