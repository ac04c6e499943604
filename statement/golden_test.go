package statement_test

import (
	"bytes"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// TestGoldenFrame spells one frame byte by byte. When this test fails the wire
// format has changed.
func TestGoldenFrame(t *testing.T) {
	var boot [16]byte
	copy(boot[:], "bootbootbootboot")
	f := &statement.Frame{
		Version: 1, Seq: 1000, Prev: statement.Hash(bytes.Repeat([]byte{0xaa}, 32)),
		Clock: statement.Clock{BootID: boot, BootCount: 12, Boottime: 61_000_000_000, Wall: 1_760_000_060_000,
			Quality: statement.ClockSynchronised, MaxError: 25},
		Span: [2]int64{1_760_000_000_000, 1_760_000_060_000}, Root: statement.Hash(bytes.Repeat([]byte{0xbb}, 32)), Count: 2,
		Plan: statement.Hash(bytes.Repeat([]byte{0xcc}, 32)),
		After: &statement.After{Origin: statement.Hash(bytes.Repeat([]byte{0xdd}, 32)), Size: 300, Root: statement.Hash(bytes.Repeat([]byte{0xee}, 32)),
			ChainID: "tm-1", Height: 70_000, BlockHash: statement.Hash(bytes.Repeat([]byte{0xff}, 32))},
		Note: "ok",
	}
	hash32 := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	want := bytes.Join([][]byte{
		{0xaa},                          // map, 10 entries
		{0x01, 0x01},                    // 1 version: 1
		{0x02, 0x19, 0x03, 0xe8},        // 2 seq: 1000
		{0x03, 0x58, 0x20}, hash32(170), // 3 prev: 32 bytes
		{0x04, 0xa6},                             // 4 clock: map, 6 entries
		{0x01, 0x50}, []byte("bootbootbootboot"), // 1 boot id: 16 bytes
		{0x02, 0x0c}, // 2 boot count: 12
		{0x03, 0x1b, 0x00, 0x00, 0x00, 0x0e, 0x33, 0xe2, 0x22, 0x00}, // 3 boottime: 61,000,000,000 ns
		{0x04, 0x1b, 0x00, 0x00, 0x01, 0x99, 0xc8, 0x2d, 0xaa, 0x60}, // 4 wall: 1,760,000,060,000 ms
		{0x05, 0x03},       // 5 quality: synchronised
		{0x06, 0x18, 0x19}, // 6 max error: 25 ms
		{0x05, 0x82},       // 5 span: array of 2
		{0x1b, 0x00, 0x00, 0x01, 0x99, 0xc8, 0x2c, 0xc0, 0x00}, //   t0: 1,760,000,000,000 ms
		{0x1b, 0x00, 0x00, 0x01, 0x99, 0xc8, 0x2d, 0xaa, 0x60}, //   t1: 1,760,000,060,000 ms
		{0x06, 0x58, 0x20}, hash32(187), // 6 records root
		{0x07, 0x02},                    // 7 record count: 2
		{0x08, 0x58, 0x20}, hash32(204), // 8 plan
		{0x09, 0x86},              // 9 after: array of 6
		{0x58, 0x20}, hash32(221), //   origin
		{0x19, 0x01, 0x2c},        //   size: 300
		{0x58, 0x20}, hash32(238), //   root
		{0x64}, []byte("tm-1"), //   chain id
		{0x1a, 0x00, 0x01, 0x11, 0x70}, //   height: 70,000
		{0x58, 0x20}, hash32(255),      //   block hash
		{0x0a, 0x62}, []byte("ok"), // 10 note
	}, nil)
	if got := dcbor.MustMarshal(f); !bytes.Equal(got, want) {
		t.Fatalf("frame is\n%x, want\n%x", got, want)
	}
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}

	// And the statement around it, with the Ed25519 key of seed 01…01.
	s := sign(t, signer(t, edKey(1)), header(statement.KindFrame), f)
	kid := signer(t, edKey(1)).Key().ID()
	protected := bytes.Join([][]byte{
		{0xa4},                     // map, 4 entries
		{0x01, 0x27},               // 1 alg: -8, EdDSA
		{0x04, 0x58, 0x20}, kid[:], // 4 kid: RFC 9679 thumbprint
		{0x0f, 0xa3},                                               // 15 claims: map, 3 entries
		{0x01, 0x78, 0x1c}, []byte("urn:dev:mac:0024befffe804ff1"), // 1 iss
		{0x02, 0x61}, []byte("0"), // 2 sub: epoch 0
		{0x03, 0x6c}, []byte("acme/staging"), // 3 aud
		{0x10, 0x78, 0x24}, []byte("application/vnd.trailmark.frame+cbor"), // 16 typ
	}, nil)
	message := bytes.Join([][]byte{
		{0xd2, 0x84},                            // tag 18, array of 4
		{0x58, byte(len(protected))}, protected, // protected, as bytes
		{0xa0}, // no unprotected header
		{0x59, byte(len(want) >> 8), byte(len(want))}, want, // payload
		{0x58, 0x40}, s.Signature, // signature: 64 bytes
	}, nil)
	if !bytes.Equal(s.Bytes(), message) {
		t.Errorf("statement is\n%x, want\n%x", s.Bytes(), message)
	}
	tbs := bytes.Join([][]byte{
		{0x84, 0x6a}, []byte("Signature1"), // array of 4, context
		{0x58, byte(len(protected))}, protected,
		{0x40}, // no external data
		{0x59, byte(len(want) >> 8), byte(len(want))}, want,
	}, nil)
	if s.ID() != hash(tbs) {
		t.Error("the id is not the hash of the Sig_structure")
	}
}
