package statement_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

const audience = "acme/staging"

// edKey and ecKey are private keys made from one byte, the same in every run.
func edKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func ecKey(t testing.TB, seed byte) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// hardware hides a private key as a TPM does: only crypto.Signer is left.
type hardware struct{ *ecdsa.PrivateKey }

func (h hardware) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil || opts.HashFunc() != crypto.SHA256 || len(digest) != 32 {
		return nil, errors.New("a TPM signs digests of a hash that it is told")
	}
	return h.PrivateKey.Sign(random, digest, opts)
}

func signer(t testing.TB, k crypto.Signer) *statement.Signer {
	t.Helper()
	s, err := statement.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func header(kind statement.Kind) statement.Header {
	return statement.Header{Issuer: "urn:dev:mac:0024befffe804ff1", Subject: "0", Audience: audience, Kind: kind}
}

func sign(t testing.TB, s *statement.Signer, h statement.Header, payload any) *statement.Statement {
	t.Helper()
	data, err := dcbor.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Sign(h, data)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func goodFrame() *statement.Frame {
	return &statement.Frame{Version: 1, Seq: 7, Prev: statement.Hash{1},
		Clock: statement.Clock{BootID: [16]byte{2}, BootCount: 3, Boottime: 4_000_000_000, Wall: 1_760_000_060_000,
			Quality: statement.ClockSynchronised, MaxError: 20},
		Span: [2]int64{1_760_000_000_000, 1_760_000_060_000}, Root: statement.RecordsRoot(nil), Plan: statement.Hash{5}}
}

func goodStatement(t testing.TB) *statement.Statement {
	t.Helper()
	return sign(t, signer(t, edKey(1)), header(statement.KindFrame), goodFrame())
}

// signRaw makes a COSE_Sign1 whose signature is right, whatever its headers are.
func signRaw(k crypto.Signer, protected, unprotected, payload []byte) []byte {
	tbs := dcbor.AppendText(dcbor.AppendArray(nil, 4), "Signature1")
	tbs = dcbor.AppendBytes(dcbor.AppendBytes(dcbor.AppendBytes(tbs, protected), nil), payload)
	sig, err := k.Sign(nil, tbs, crypto.Hash(0))
	if err != nil {
		panic(err)
	}
	return envelope(protected, unprotected, payload, sig)
}

func envelope(protected, unprotected, payload, sig []byte) []byte {
	b := dcbor.AppendBytes(append([]byte{0xd2}, 0x84), protected)
	b = dcbor.AppendBytes(append(b, unprotected...), payload)
	return dcbor.AppendBytes(b, sig)
}

// protectedMap is the header of goodStatement, to be altered.
func protectedMap(t testing.TB) map[any]any {
	t.Helper()
	kid := signer(t, edKey(1)).Key().ID()
	return map[any]any{1: -8, 4: kid[:], 15: map[any]any{1: "urn:dev:mac:0024befffe804ff1", 2: "0", 3: audience},
		16: "application/vnd.trailmark.frame+cbor"}
}

// encode writes maps as RFC 8949 section 4.2.1 wants.
func encode(t testing.TB, v any) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// highS is the other signature of the pair (r, s), (r, n−s).
func highS(sig []byte) []byte {
	out := bytes.Clone(sig)
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(out[32:])
	return out
}

// wants fails unless err says the words.
func wants(t testing.TB, what string, err error, words string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", what)
	} else if !strings.Contains(err.Error(), words) {
		t.Errorf("%s: %v, want %q", what, err, words)
	}
}

func hash(b []byte) statement.Hash { return sha256.Sum256(b) }
