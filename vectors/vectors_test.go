package vectors_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
	"trailmark/vectors"
)

// TestVectors judges every case through the public API.
func TestVectors(t *testing.T) {
	all, err := vectors.All()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string][2]int{}
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			c := &vector{v, t, map[string]bool{"expect": true, "kind": true}}
			err := c.judge()
			expect := c.Header["expect"]
			n := kinds[c.Header["kind"]]
			switch {
			case expect == "ok":
				n[0]++
				if err != nil {
					t.Errorf("refused: %v", err)
				}
			case expect == "":
				t.Error("no expectation")
			case err == nil:
				t.Errorf("accepted, want %q", expect)
			case !strings.Contains(err.Error(), expect):
				t.Errorf("refused with %q, want %q", err, expect)
			}
			if expect != "ok" {
				n[1]++
			}
			kinds[c.Header["kind"]] = n
			for name := range c.Header {
				if !c.used[name] && (expect == "ok" || name != "digest" && name != "aud") {
					t.Errorf("header %q means nothing here", name)
				}
			}
		})
	}
	if len(all) < 150 {
		t.Errorf("%d vectors, want at least 150", len(all))
	}
	for kind, n := range kinds {
		if n[0] == 0 || n[1] == 0 {
			t.Errorf("kind %s has %d good cases and %d refusals, want both", kind, n[0], n[1])
		}
	}
}

// A vector is a case with readers that report what is missing.
type vector struct {
	vectors.Vector
	t    *testing.T
	used map[string]bool
}

func (v *vector) text(name string) string {
	s, ok := v.Header[name]
	if !ok {
		v.t.Fatalf("no header %q", name)
	}
	v.used[name] = true
	return s
}

func (v *vector) bytes(name string) []byte {
	b, err := hex.DecodeString(v.text(name))
	if err != nil {
		v.t.Fatalf("header %q: %v", name, err)
	}
	return b
}

func (v *vector) hash(name string) statement.Hash {
	b := v.bytes(name)
	if len(b) != 32 {
		v.t.Fatalf("header %q has %d bytes", name, len(b))
	}
	return statement.Hash(b)
}

func (v *vector) number(name string) int64 {
	n, err := strconv.ParseInt(v.text(name), 10, 64)
	if err != nil {
		v.t.Fatalf("header %q: %v", name, err)
	}
	return n
}

func (v *vector) key(name string) statement.Key {
	k, err := statement.ParseKey(v.bytes(name))
	if err != nil {
		v.t.Fatalf("header %q: %v", name, err)
	}
	return k
}

// cbor reads a header that is the input to a case, not its subject.
func (v *vector) cbor(name string, into any) {
	if err := dcbor.Unmarshal(v.bytes(name), into); err != nil {
		v.t.Fatalf("header %q: %v", name, err)
	}
}

func (v *vector) spec() trace.Spec {
	s := trace.Spec{Unit: v.text("unit"), Nominal: v.number("nominal")}
	for _, l := range strings.Fields(v.text("limits")) {
		var limit trace.Limit
		if _, err := fmt.Sscanf(l, "%d:%d", &limit.Comparison, &limit.Value); err != nil {
			v.t.Fatalf("limit %q: %v", l, err)
		}
		s.Limits = append(s.Limits, limit)
	}
	return s
}

// same reports what a good case must give besides "ok".
func (v *vector) same(name, got string) {
	if v.Header["expect"] == "ok" && v.text(name) != got {
		v.t.Errorf("%s is %s, want %s", name, got, v.text(name))
	}
}

func (v *vector) judge() error {
	switch kind := v.Header["kind"]; kind {
	case "key":
		k, err := statement.ParseKey(v.Body)
		if err == nil {
			v.same("thumbprint", k.ID().String())
		}
		return err
	case "statement":
		return v.judgeStatement()
	case "payload":
		return read(&statement.Statement{Header: statement.Header{Kind: statement.Kind(v.text("type"))}, Payload: v.Body})
	case "record":
		d := statement.Disclosed{Index: uint64(v.number("index")), Record: v.Body}
		for _, h := range strings.Fields(v.text("path")) {
			b, err := hex.DecodeString(h)
			if err != nil || len(b) != 32 {
				v.t.Fatalf("path %q: %v", h, err)
			}
			d.Path = append(d.Path, statement.Hash(b))
		}
		_, err := d.Open(&statement.Frame{Count: uint64(v.number("count")), Root: v.hash("root")})
		return err
	case "up":
		_, err := statement.ParseUp(v.Body)
		return err
	case "leaf":
		return v.judgeLeaf()
	case "range":
		return v.judgeRange()
	case "consistency":
		var older, newer trace.Head
		var nodes []trace.Node
		v.cbor("older", &older)
		v.cbor("newer", &newer)
		spec := v.spec()
		if err := dcbor.Unmarshal(v.Body, &nodes); err != nil {
			return err
		}
		return trace.VerifyConsistency(spec, older, newer, nodes)
	case "passport":
		return v.judgePassport()
	case "checkpoint":
		c, err := statement.OpenCheckpoint(v.Body, v.text("origin"), v.key("logkey"))
		if err == nil {
			v.same("size", strconv.FormatUint(c.Size, 10))
			v.same("root", c.Root.String())
		}
		return err
	case "receipt":
		key := v.key("logkey")
		c, err := statement.OpenCheckpoint(v.bytes("checkpoint"), v.text("origin"), key)
		if err != nil {
			v.t.Fatal(err)
		}
		entry := v.hash("entry")
		r, err := statement.ParseReceipt(v.Body)
		if err != nil {
			return err
		}
		return r.Verify(entry, c, key)
	default:
		v.t.Fatalf("kind %q is none", kind)
		return nil
	}
}

func (v *vector) judgeStatement() error {
	key := v.key("key")
	s, err := statement.Parse(v.Body)
	if err != nil {
		return err
	}
	if err := s.Verify(key, v.text("aud")); err != nil {
		return err
	}
	v.same("id", s.ID().String())
	v.same("entry", s.Entry().String())
	return read(s)
}

// read decodes a payload as the kind its statement names.
func read(s *statement.Statement) error {
	var err error
	switch s.Header.Kind {
	case statement.KindFrame:
		_, err = s.Frame()
	case statement.KindIdentity:
		_, err = s.Identity()
	case statement.KindKeyStatus:
		_, err = s.KeyStatus()
	case statement.KindPlan:
		_, err = s.Plan()
	case statement.KindProduct:
		_, err = s.Product()
	case statement.KindHandover:
		_, err = s.Handover()
	case statement.KindAcceptance:
		_, err = s.Acceptance()
	case statement.KindEvent:
		_, err = s.Event()
	case statement.KindErasure:
		_, err = s.Erasure()
	default:
		err = errors.New("kind unknown")
	}
	return err
}

func (v *vector) judgeLeaf() error {
	spec := v.spec()
	b, err := statement.Body{Kind: statement.RecordBlock, Data: v.Body}.Decode()
	if err != nil {
		return err
	}
	block := b.(*statement.Block)
	prev := int64(-1)
	if block.Prev != nil {
		prev = *block.Prev
	}
	d, err := spec.Leaf(prev, block.Times(), block.Values)
	if err == nil {
		v.same("digest", hex.EncodeToString(dcbor.MustMarshal(d)))
	}
	return err
}

func (v *vector) judgeRange() error {
	spec := v.spec()
	var head trace.Head
	v.cbor("head", &head)
	var r trace.Range
	if err := dcbor.Unmarshal(v.Body, &r); err != nil {
		return err
	}
	var d trace.Digest
	var err error
	if _, ok := v.Header["older"]; ok {
		var older []trace.Head
		v.cbor("older", &older)
		o, err := r.Open(spec, head, sizes(older)...)
		if err != nil {
			return err
		}
		for _, h := range older {
			if err := o.Older(h); err != nil {
				return err
			}
		}
		if d, err = o.Inside(); err != nil {
			return err
		}
	} else if _, ok := v.Header["window"]; ok {
		var w0, w1 int64
		if _, err := fmt.Sscan(v.text("window"), &w0, &w1); err != nil {
			v.t.Fatal(err)
		}
		d, err = r.VerifyWindow(spec, head, w0, w1)
	} else {
		d, err = r.Verify(spec, head)
	}
	if err == nil {
		v.same("digest", hex.EncodeToString(dcbor.MustMarshal(d)))
	}
	return err
}
