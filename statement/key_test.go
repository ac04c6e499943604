package statement_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"strings"
	"testing"

	"filippo.io/edwards25519"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// TestThumbprint: the kid is RFC 9679's, by that RFC's own example.
func TestThumbprint(t *testing.T) {
	key, err := statement.ParseKey(unhex(t, `a4 01 02 20 01
		21 5820 65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d
		22 5820 1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := key.ID().String(), "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec"; got != want {
		t.Errorf("thumbprint %s, want %s", got, want)
	}
}

func TestKeyRoundTrip(t *testing.T) {
	for i := byte(1); i < 20; i++ {
		for _, k := range []statement.Key{signer(t, edKey(i)).Key(), signer(t, ecKey(t, i)).Key()} {
			got, err := statement.ParseKey(k.Encoded())
			if err != nil || got.ID() != k.ID() || !bytes.Equal(got.Encoded(), k.Encoded()) || got.IsZero() {
				t.Fatalf("key %x: %v", k.Encoded(), err)
			}
			if hash(k.Encoded()) != k.ID() {
				t.Errorf("id of %x is not its hash", k.Encoded())
			}
		}
	}
	pub := bytes.Clone(edKey(1).Public().(ed25519.PublicKey))
	k, err := statement.NewKey(ed25519.PublicKey(pub))
	if err != nil {
		t.Fatal(err)
	}
	pub[0] ^= 1 // a caller who reuses the slice does not change the key
	if !bytes.Equal(k.Public().(ed25519.PublicKey), edKey(1).Public().(ed25519.PublicKey)) {
		t.Error("the key shares the caller's bytes")
	}
}

// TestKeyRefuses: crypto/ed25519 alone takes every one of these points.
func TestKeyRefuses(t *testing.T) {
	zeros, ones := strings.Repeat("00", 30), strings.Repeat("ff", 30)
	for name, c := range map[string]struct{ x, want string }{
		"neutral element":            {"01" + zeros + "00", "not of prime order"},
		"order 2":                    {"ec" + ones + "7f", "not of prime order"},
		"order 4":                    {"00" + zeros + "00", "not of prime order"},
		"order 4, negative":          {"00" + zeros + "80", "not of prime order"},
		"order 8":                    {"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "not of prime order"},
		"order 8, negative":          {"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85", "not of prime order"},
		"order 8, other":             {"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "not of prime order"},
		"order 8, other, negative":   {"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa", "not of prime order"},
		"neutral with a sign":        {"01" + zeros + "80", "not canonically"},
		"order 2 with a sign":        {"ec" + ones + "ff", "not canonically"},
		"y = p":                      {"ed" + ones + "7f", "not canonically"},
		"y = p with a sign":          {"ed" + ones + "ff", "not canonically"},
		"y = p + 1":                  {"ee" + ones + "7f", "not canonically"},
		"y = p + 1 with a sign":      {"ee" + ones + "ff", "not canonically"},
		"y = 2^255 - 1":              {"ff" + ones + "7f", "not"},
		"no point":                   {"02" + zeros + "00", "not a point"},
		"a key of another kind of y": {"efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "not"},
	} {
		x := unhex(t, c.x)
		_, err := statement.ParseKey(append([]byte{0xa3, 0x01, 0x01, 0x20, 0x06, 0x21, 0x58, 0x20}, x...))
		wants(t, name, err, c.want)
		_, err = statement.NewKey(ed25519.PublicKey(x))
		wants(t, name, err, c.want)
	}

	// Mixed order: a true key plus a point of order 2, 4 or 8. The signature of
	// its holder verifies in crypto/ed25519 for one message in 2, 4 or 8.
	base, err := new(edwards25519.Point).SetBytes(edKey(1).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	torsion, err := new(edwards25519.Point).SetBytes(unhex(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
	if err != nil {
		t.Fatal(err)
	}
	sum := new(edwards25519.Point).Set(base)
	for i := range 7 {
		sum.Add(sum, torsion)
		mixed := ed25519.PublicKey(sum.Bytes())
		if !takesMixed(t, mixed) {
			t.Errorf("crypto/ed25519 takes no signature under base + %d·torsion: the example is no attack", i+1)
		}
		_, err := statement.NewKey(mixed)
		wants(t, "mixed order", err, "not of prime order")
	}
	if sum.Add(sum, torsion).Equal(base) != 1 {
		t.Fatal("eight times the torsion point is not the neutral element")
	}

	// P-256 and the form of a COSE_Key.
	ec := signer(t, ecKey(t, 1)).Key().Encoded()
	ed := signer(t, edKey(1)).Key().Encoded()
	edit := func(b []byte, i int, v ...byte) []byte { b = bytes.Clone(b); copy(b[i:], v); return b }
	for name, b := range map[string][]byte{
		"nothing":               {},
		"p-256 off the curve":   edit(ec, len(ec)-1, ec[len(ec)-1]^1),
		"p-256 x over p":        edit(ec, 8, bytes.Repeat([]byte{0xff}, 32)...),
		"p-256 zero":            edit(edit(ec, 8, make([]byte, 32)...), 43, make([]byte, 32)...),
		"p-256 without y":       append([]byte{0xa3}, ec[1:40]...),
		"p-256 y as a sign":     append(append([]byte{0xa4}, ec[1:40]...), 0x22, 0xf5),
		"ed25519 with y":        append(append([]byte{0xa4}, ed[1:]...), ec[40:]...),
		"ed25519 of 31 bytes":   append(append([]byte{}, ed[:6]...), append([]byte{0x58, 0x1f}, ed[8:39]...)...),
		"x25519":                edit(ed, 4, 0x04),
		"curve 7":               edit(ed, 4, 0x07),
		"type 3":                edit(ed, 2, 0x03),
		"key with a kid":        append([]byte{0xa4, 0x01, 0x01, 0x02, 0x41, 0x00}, ed[3:]...),
		"key with an algorithm": append([]byte{0xa4, 0x01, 0x01, 0x03, 0x27}, ed[3:]...),
		"private key":           append(append([]byte{0xa4}, ed[1:]...), append([]byte{0x23, 0x58, 0x20}, make([]byte, 32)...)...),
		"trailing byte":         append(bytes.Clone(ed), 0),
		"unsorted":              append([]byte{0xa3, 0x20, 0x06, 0x01, 0x01}, ed[5:]...),
	} {
		if _, err := statement.ParseKey(b); err == nil {
			t.Errorf("%s: accepted %x", name, b)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = statement.NewKey(&p384.PublicKey)
	wants(t, "p-384", err, "not on P-256")
	_, err = statement.NewKey(&rsa.PublicKey{})
	wants(t, "rsa", err, "neither Ed25519 nor P-256")
	_, err = statement.NewKey(nil)
	wants(t, "nil", err, "neither")
	_, err = statement.NewKey(ed25519.PublicKey{1})
	wants(t, "short", err, "not a point")
	if _, err := dcbor.Marshal(statement.PublicKey{}); err == nil {
		t.Error("no key encodes")
	}
}

// takesMixed reports whether the holder of edKey(1) finds a message which
// crypto/ed25519 verifies under pub, edKey(1)'s public key plus torsion.
func takesMixed(t *testing.T, pub ed25519.PublicKey) bool {
	t.Helper()
	expanded := sha512.Sum512(edKey(1).Seed())
	a, err := new(edwards25519.Scalar).SetBytesWithClamping(expanded[:32])
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		message := []byte{byte(i)}
		rh := sha512.Sum512(append([]byte("nonce"), message...))
		r, _ := new(edwards25519.Scalar).SetUniformBytes(rh[:])
		big := new(edwards25519.Point).ScalarBaseMult(r).Bytes()
		kh := sha512.Sum512(append(append(bytes.Clone(big), pub...), message...))
		k, _ := new(edwards25519.Scalar).SetUniformBytes(kh[:])
		s := new(edwards25519.Scalar).MultiplyAdd(k, a, r)
		if ed25519.Verify(pub, message, append(bytes.Clone(big), s.Bytes()...)) {
			return true
		}
	}
	return false
}
