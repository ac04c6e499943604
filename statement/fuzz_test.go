package statement_test

import (
	"bytes"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// What a parser takes encodes again as the same bytes, and reading on never panics.

func FuzzParse(f *testing.F) {
	for _, p := range append(payloads(f), later(f)...) {
		f.Add(sign(f, signer(f, edKey(1)), header(p.kind), p.value).Bytes())
	}
	f.Add([]byte{0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40})
	key, readers := signer(f, edKey(1)).Key(), payloads(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := statement.Parse(data)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Bytes(), data) {
			t.Fatalf("%x parses to %x", data, s.Bytes())
		}
		_ = s.Verify(key, audience)
		for _, p := range readers {
			if v, err := p.read(s); err == nil && !bytes.Equal(dcbor.MustMarshal(v), s.Payload) {
				t.Fatalf("%s %x encodes otherwise", p.kind, s.Payload)
			}
		}
	})
}

// FuzzPayload reads a payload of each kind without the luck of an envelope.
func FuzzPayload(f *testing.F) {
	all := append(payloads(f), later(f)...)
	for i, p := range all {
		f.Add(byte(i), dcbor.MustMarshal(p.value))
	}
	f.Fuzz(func(t *testing.T, i byte, data []byte) {
		p := all[int(i)%len(all)]
		s := &statement.Statement{Header: statement.Header{Kind: p.kind}, Payload: data}
		if v, err := p.read(s); err == nil && !bytes.Equal(dcbor.MustMarshal(v), data) {
			t.Fatalf("%s %x encodes otherwise", p.kind, data)
		}
	})
}

func FuzzParseAlarmDetail(f *testing.F) {
	f.Add(unhex(f, "83 82 02 191f41 192134 02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := statement.ParseAlarmDetail(data); err == nil && !bytes.Equal(dcbor.MustMarshal(d), data) {
			t.Fatalf("%x encodes otherwise", data)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(signer(f, edKey(1)).Key().Encoded())
	f.Add(signer(f, ecKey(f, 1)).Key().Encoded())
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := statement.ParseKey(data); err == nil && !bytes.Equal(k.Encoded(), data) {
			t.Fatalf("%x encodes as %x", data, k.Encoded())
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	for _, r := range statement.Records([32]byte{1}, bodies(f, 7)) {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := statement.ParseRecord(data)
		if err != nil {
			return
		}
		b := statement.Body{Kind: r.Kind, Data: r.Body}
		if again := statement.SaltedRecord(r.Salt, b); !bytes.Equal(again, data) {
			t.Fatalf("%x encodes as %x", data, again)
		}
		v, err := b.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if block, ok := v.(*statement.Block); ok {
			again, err := statement.NewBlock(block.Channel, -1, block.Times(), block.Values)
			if err != nil {
				t.Fatal(err)
			}
			again.Prev, again.Raw = block.Prev, block.Raw
			if !bytes.Equal(dcbor.MustMarshal(again), b.Data) {
				t.Fatalf("block %x has another form", b.Data)
			}
		}
	})
}

func FuzzParseUp(f *testing.F) {
	f.Add(up(f, [32]byte{1}, nil))
	f.Add(up(f, [32]byte{1}, bodies(f, 7)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := statement.ParseUp(data)
		if err != nil {
			return
		}
		if again, err := statement.EncodeUp(d.Statement, d.Seed, d.Bodies); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x encodes as %x, %v", data, again, err)
		}
	})
}

func FuzzParseDown(f *testing.F) {
	for _, v := range downs(f) {
		f.Add(dcbor.MustMarshal(v))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := statement.ParseDown(data); err == nil && !bytes.Equal(dcbor.MustMarshal(v), data) {
			t.Fatalf("%x encodes otherwise", data)
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	data, c, entry := receiptFor(f, 9, 4)
	f.Add(data)
	data1, _, _ := receiptFor(f, 1, 0)
	f.Add(data1)
	key := signer(f, edKey(50)).Key()
	f.Fuzz(func(t *testing.T, other []byte) {
		r, err := statement.ParseReceipt(other)
		if err == nil && r.Verify(entry, c, key) == nil && !bytes.Equal(other, data) {
			t.Fatalf("another receipt verifies: %x", other)
		}
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	text := checkpointText(9, rootOf(9))
	f.Add(signNote(f, edKey(50), origin, text))
	f.Add([]byte(origin + "\n9\nAAAA\n\n— x AAAA\n"))
	key := signer(f, edKey(50)).Key()
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := statement.OpenCheckpoint(data, origin, key); err == nil && !bytes.HasPrefix(data, []byte(text+"\n")) {
			t.Fatalf("another text verifies: %+v", c)
		}
	})
}

// FuzzErasure: what decodes as an erasure encodes as the same bytes.
func FuzzErasure(f *testing.F) {
	f.Add(dcbor.MustMarshal(&statement.Erasure{Version: 1, At: 1, Why: "retention", Records: []statement.Erased{{Index: 3, Kind: statement.RecordSighting}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &statement.Statement{Header: statement.Header{Kind: statement.KindErasure}, Payload: data}
		if e, err := s.Erasure(); err == nil && !bytes.Equal(dcbor.MustMarshal(e), data) {
			t.Fatalf("%x encodes otherwise", data)
		}
	})
}
