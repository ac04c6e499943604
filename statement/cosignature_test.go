package statement_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// cosignable is a checkpoint of nine entries, its log's key, and a device.
func cosignable(t testing.TB) (statement.Checkpoint, statement.Key, *statement.Signer) {
	t.Helper()
	key := signer(t, edKey(50)).Key()
	c, err := statement.OpenCheckpoint(signNote(t, edKey(50), origin, checkpointText(9, statement.RecordsRoot(entries(9)))), origin, key)
	if err != nil {
		t.Fatal(err)
	}
	return c, key, signer(t, edKey(60))
}

func cosign(t testing.TB, s *statement.Signer, c statement.Checkpoint, at int64) []byte {
	t.Helper()
	line, err := s.Cosign(c, at)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func witnessOf(t testing.TB, k statement.Key) statement.Witness {
	t.Helper()
	w, err := statement.DeviceWitness(k)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestCosignature(t *testing.T) {
	c, logKey, device := cosignable(t)
	const at = 1_772_000_000
	line, w := cosign(t, device, c, at), witnessOf(t, device.Key())
	if want := "— trailmark/device/" + device.Key().ID().String() + " "; !strings.HasPrefix(string(line), want) || len(line) > 256 {
		t.Errorf("line %q", line)
	}
	both, got, err := c.WithCosignature(line, w, logKey)
	if err != nil || got != at || len(both.Cosignatures()) != 1 {
		t.Fatalf("%d, %v", got, err)
	}
	opened, err := statement.OpenCheckpoint(both.Note, origin, logKey)
	if err != nil || opened.Size != 9 || opened.Root != c.Root || len(opened.Cosignatures()) != 1 {
		t.Fatalf("%+v, %v", opened, err)
	}
	if got, err := opened.VerifyCosignature(opened.Cosignatures()[0], w); err != nil || got != at {
		t.Errorf("%d, %v", got, err)
	}
	// A second device, and the same device once more, at another time.
	other := signer(t, edKey(61))
	for _, x := range []struct {
		s  *statement.Signer
		at int64
	}{{other, at}, {device, at + 1}} {
		if both, _, err = both.WithCosignature(cosign(t, x.s, c, x.at), witnessOf(t, x.s.Key()), logKey); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(both.Cosignatures()); n != 3 {
		t.Errorf("%d cosignatures, want 3", n)
	}
	if !bytes.Equal(both.Bare(), c.Note) || !bytes.Equal(c.Bare(), c.Note) {
		t.Errorf("without them it is %q", both.Bare())
	}
}

func TestCosignatureRefuses(t *testing.T) {
	c, logKey, device := cosignable(t)
	line, w := string(cosign(t, device, c, 1_772_000_000)), witnessOf(t, device.Key())
	raw := func(edit func(b []byte) []byte) string {
		name, b64, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "— "), " ")
		b, err := base64.StdEncoding.DecodeString(b64)
		if err != nil {
			t.Fatal(err)
		}
		return "— " + name + " " + base64.StdEncoding.EncodeToString(edit(b)) + "\n"
	}
	at := func(at uint64) string { // honestly signed
		text := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at, checkpointText(9, c.Root))
		return raw(func(b []byte) []byte {
			return append(binary.BigEndian.AppendUint64(b[:4:4], at), ed25519.Sign(edKey(60), []byte(text))...)
		})
	}
	bigger, err := statement.OpenCheckpoint(signNote(t, edKey(50), origin, checkpointText(10, c.Root)), origin, logKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.WithCosignature([]byte(at(1_772_000_000)), w, logKey); err != nil {
		t.Fatalf("good: %v", err)
	}
	for name, bad := range map[string]string{
		"nothing":                "",
		"words":                  "hello\n",
		"no line end":            strings.TrimSuffix(line, "\n"),
		"two lines":              line + at(1_772_000_001),
		"an empty line":          "\n" + line,
		"text and a line":        "more\n\n" + line,
		"a bit of the time":      raw(func(b []byte) []byte { b[11] ^= 1; return b }),
		"a bit of the signature": raw(func(b []byte) []byte { b[40] ^= 1; return b }),
		"a bit of the key id":    raw(func(b []byte) []byte { b[0] ^= 1; return b }),
		"a byte short":           raw(func(b []byte) []byte { return b[:75] }),
		"a byte long":            raw(func(b []byte) []byte { return append(b, 0) }),
		"time 0":                 at(0),
		"time too late":          at(statement.MaxCosigned + 1),
		"time beyond int64":      at(1 << 63),
		"another device":         string(cosign(t, signer(t, edKey(61)), c, 5)),
		"another name":           strings.Replace(line, "/device/", "/gadget/", 1),
		"another checkpoint":     string(cosign(t, device, bigger, 5)),
		"the log's own line":     string(c.Note[bytes.Index(c.Note, []byte("— ")):]),
	} {
		if _, _, err := c.WithCosignature([]byte(bad), w, logKey); err == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := statement.VerifyCosignatureLine(origin, 9, c.Root, []byte(bad), w); err == nil {
			t.Errorf("%s: taken alone", name)
		}
	}
	if got, err := statement.VerifyCosignatureLine(origin, 9, c.Root, []byte(line), w); err != nil || got != 1_772_000_000 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := statement.VerifyCosignatureLine(origin, 10, c.Root, []byte(line), w); err == nil {
		t.Error("taken for another head")
	}
	kid := device.Key().ID()
	for name, want := range map[string]bool{w.Name: true, w.Name + "0": false, w.Name[:80]: false, "trailmark/device/": false, strings.ToUpper(w.Name): false, "witness.example.org": false,
		"trailmark/device/" + strings.ToUpper(kid.String()): false} {
		if got, ok := statement.DeviceOf(name); ok != want || ok && got != kid {
			t.Errorf("%q is of device %s, %v", name, got, ok)
		}
	}
	for _, bad := range []int64{0, -1, statement.MaxCosigned + 1} {
		if _, err := device.Cosign(c, bad); err == nil {
			t.Errorf("cosigned at %d", bad)
		}
	}
	tpm := signer(t, ecKey(t, 1))
	if _, err := tpm.Cosign(c, 5); !errors.Is(err, statement.ErrNotEd25519) || tpm.Key().Cosigns() || !device.Key().Cosigns() {
		t.Errorf("P-256: %v", err)
	}
	for _, name := range []string{"", "a b", "a+b", "a\u00a0b", "a\nb", "\xff", strings.Repeat("a", 257)} {
		if _, err := statement.NewWitness(name, device.Key()); err == nil {
			t.Errorf("witness named %q", name)
		}
	}
}

// TestCosignatureInterop: the implementation of the ecosystem's own logs takes our
// lines, and we take its.
func TestCosignatureInterop(t *testing.T) {
	c, logKey, device := cosignable(t)
	w := witnessOf(t, device.Key())
	pub := append([]byte{4}, device.Key().Public().(ed25519.PublicKey)...)
	vkey := func(name string, key []byte) string {
		v, err := fnote.NewVerifierForCosignatureV1(name + "+00000000+" + base64.StdEncoding.EncodeToString(key))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s+%08x+%s", name, v.KeyHash(), base64.StdEncoding.EncodeToString(key))
	}
	theirs, err := fnote.NewVerifierForCosignatureV1(vkey(w.Name, pub))
	if err != nil {
		t.Fatal(err)
	}
	both, _, err := c.WithCosignature(cosign(t, device, c, 1_772_000_000), w, logKey)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := note.Open(both.Note, note.VerifierList(theirs))
	if err != nil || len(opened.Sigs) != 1 || opened.Sigs[0].Name != w.Name {
		t.Fatalf("%+v, %v", opened, err)
	}
	if at, err := fnote.CoSigV1Timestamp(opened.Sigs[0]); err != nil || at.Unix() != 1_772_000_000 {
		t.Errorf("time %v, %v", at, err)
	}
	altered := bytes.Replace(both.Note, []byte(origin+"\n9\n"), []byte(origin+"\n8\n"), 1)
	if _, err := note.Open(altered, note.VerifierList(theirs)); err == nil {
		t.Error("it takes our line on another checkpoint")
	}

	key := edKey(62)
	const name = "witness.example.com/w1"
	skey := fmt.Sprintf("PRIVATE+KEY+%s+00000000+%s", name, base64.StdEncoding.EncodeToString(append([]byte{4}, key.Seed()...)))
	signer, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := note.Open(c.Note, note.VerifierList(must(statement.LogVerifier(origin, logKey))))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(text, signer)
	if err != nil {
		t.Fatal(err)
	}
	k, err := statement.NewKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	them, err := statement.NewWitness(name, k)
	if err != nil {
		t.Fatal(err)
	}
	got, err := statement.OpenCheckpoint(signed, origin, logKey)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(got.Cosignatures(), func(s statement.Cosignature) bool { return s.By(them) })
	if at < 0 {
		t.Fatalf("no line by %s in %q", name, signed)
	}
	if _, err := got.VerifyCosignature(got.Cosignatures()[at], them); err != nil {
		t.Error(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCosigned(t *testing.T) {
	c, _, device := cosignable(t)
	line := cosign(t, device, c, 5)
	data, err := statement.EncodeCosigned(statement.Hash{1}, 9, line)
	if err != nil || !statement.IsCosigned(data) {
		t.Fatal(err)
	}
	got, err := statement.ParseCosigned(data)
	if err != nil || got.Size != 9 || got.Origin != (statement.Hash{1}) || !bytes.Equal(got.Line, line) {
		t.Fatalf("%+v, %v", got, err)
	}
	if frame := up(t, [32]byte{}, nil); statement.IsCosigned(frame) {
		t.Error("a frame passes for a cosignature")
	}
	if _, err := statement.ParseUp(data); err == nil {
		t.Error("a cosignature passes for a frame")
	}
	for name, v := range map[string]any{
		"version 1": []any{1, statement.Hash{}, 9, line}, "size 0": []any{2, statement.Hash{}, 0, line}, "huge": []any{2, statement.Hash{}, uint64(1 << 53), line},
		"no line": []any{2, statement.Hash{}, 9, []byte{}}, "long line": []any{2, statement.Hash{}, 9, make([]byte, 257)}, "short": []any{2, statement.Hash{}, 9},
		"half a hash": []any{2, []byte{1}, 9, line},
	} {
		if _, err := statement.ParseCosigned(dcbor.MustMarshal(v)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, bad := range [][]byte{nil, {2}, {0x84}, {0x42, 2}} {
		if statement.IsCosigned(bad) {
			t.Errorf("%x is a cosignature", bad)
		}
	}
}

// FuzzCosigned: what is taken encodes again as the same bytes, and a line from
// anywhere is refused or is in its one form.
func FuzzCosigned(f *testing.F) {
	c, logKey, device := cosignable(f)
	line := cosign(f, device, c, 5)
	data, err := statement.EncodeCosigned(statement.Hash{1}, 9, line)
	if err != nil {
		f.Fatal(err)
	}
	w := witnessOf(f, device.Key())
	f.Add(data)
	f.Add(line)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := statement.ParseCosigned(b); err == nil && !bytes.Equal(dcbor.MustMarshal(got), b) {
			t.Fatalf("%x encodes otherwise", b)
		}
		if both, _, err := c.WithCosignature(b, w, logKey); err == nil && !bytes.Equal(both.Note, append(bytes.Clone(c.Note), b...)) {
			t.Fatalf("%q gives %q", b, both.Note)
		}
	})
}
