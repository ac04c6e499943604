package statement_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// up is a message of a device with the given bodies.
func up(t testing.TB, seed [32]byte, bodies []statement.Body) []byte {
	t.Helper()
	return upOf(t, seed, bodies, func(*statement.Frame) {})
}

func upOf(t testing.TB, seed [32]byte, bodies []statement.Body, alter func(*statement.Frame)) []byte {
	t.Helper()
	f := goodFrame()
	f.Root, f.Count = statement.RecordsRoot(statement.Records(seed, bodies)), uint64(len(bodies))
	alter(f)
	data, err := statement.EncodeUp(sign(t, signer(t, edKey(1)), header(statement.KindFrame), f), seed, bodies)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestUp(t *testing.T) {
	seed := [32]byte{4}
	for n := range 12 {
		if n >= 1 && n <= 3 {
			continue // blocks without their heads are no frame
		}
		want := bodies(t, n)
		d, err := statement.ParseUp(up(t, seed, want))
		if err != nil {
			t.Fatalf("%d records: %v", n, err)
		}
		if err := d.Statement.Verify(signer(t, edKey(1)).Key(), audience); err != nil {
			t.Error(err)
		}
		if d.Seed != seed || len(d.Contents) != n || len(d.Records) != n || d.Frame.Count != uint64(n) || !reflect.DeepEqual(d.Bodies, want) {
			t.Errorf("%d records: %+v", n, d)
		}
		for i := range d.Records {
			shown, err := statement.Disclose(d.Records, i)
			if err != nil {
				t.Fatal(err)
			}
			if v, err := shown.Open(d.Frame); err != nil || !reflect.DeepEqual(v, d.Contents[i]) {
				t.Errorf("record %d of %d: %+v, %v", i, n, v, err)
			}
		}
	}
	kid := signer(t, edKey(1)).Key().ID()
	if a, b := statement.TopicUp("acme", kid), statement.TopicDown("acme", kid); a != "tm/v1/acme/"+kid.String()+"/up" || b != "tm/v1/acme/"+kid.String()+"/down" {
		t.Errorf("topics %q, %q", a, b)
	}
}

// TestUpRefuses: the gateway takes no record that the frame does not sign, and
// none that could not be shown later.
func TestUpRefuses(t *testing.T) {
	seed := [32]byte{4}
	good := bodies(t, 8)
	message := func(alter func(*statement.Up)) error {
		var u statement.Up
		if err := dcbor.Unmarshal(up(t, seed, good), &u); err != nil {
			t.Fatal(err)
		}
		alter(&u)
		_, err := statement.ParseUp(dcbor.MustMarshal(u))
		return err
	}
	if err := message(func(*statement.Up) {}); err != nil {
		t.Fatal(err)
	}
	for name, alter := range map[string]func(*statement.Up){
		"seed altered":     func(u *statement.Up) { u.Seed[0] ^= 1 },
		"body altered":     func(u *statement.Up) { b := bytes.Clone(u.Bodies[7].Body); b[4] ^= 2; u.Bodies[7].Body = b },
		"bodies swapped":   func(u *statement.Up) { u.Bodies[4], u.Bodies[5] = u.Bodies[5], u.Bodies[4] },
		"record missing":   func(u *statement.Up) { u.Bodies = u.Bodies[:7] },
		"record in excess": func(u *statement.Up) { u.Bodies = append(u.Bodies, u.Bodies[7]) },
		"no records":       func(u *statement.Up) { u.Bodies = nil },
		"record replaced":  func(u *statement.Up) { u.Bodies[6] = u.Bodies[7] },
	} {
		if err := message(alter); !errors.Is(err, statement.ErrRecords) {
			t.Errorf("%s: %v, want %v", name, err, statement.ErrRecords)
		}
	}
	for name, c := range map[string]struct {
		alter func(*statement.Up)
		want  string
	}{
		"version 2":             {func(u *statement.Up) { u.Version = 2 }, "version 2"},
		"no statement":          {func(u *statement.Up) { u.Statement = nil }, "not a tagged"},
		"kind changed":          {func(u *statement.Up) { u.Bodies[7].Kind = statement.RecordSighting }, "record 7"},
		"kind unknown":          {func(u *statement.Up) { u.Bodies[7].Kind = 5 }, "record kind 5"},
		"kind wraps":            {func(u *statement.Up) { u.Bodies[7].Kind = 1<<64 - 1 }, "record kind"},
		"body with a tail":      {func(u *statement.Up) { u.Bodies[7].Body = append(bytes.Clone(u.Bodies[7].Body), 0) }, "record 7"},
		"body of nothing":       {func(u *statement.Up) { u.Bodies[7].Body = nil }, "record 7"},
		"statement of a plan":   {func(u *statement.Up) { u.Statement = planStatement(t).Bytes() }, "is of kind plan"},
		"statement with a tail": {func(u *statement.Up) { u.Statement = append(bytes.Clone(u.Statement), 0) }, "malformed"},
	} {
		wants(t, name, message(c.alter), c.want)
	}

	// What a device signs must be records in their order, too.
	odd := statement.Body{Kind: statement.RecordHappening, Data: unhex(t, "a202010107")}
	if _, err := statement.ParseUp(up(t, seed, append(slices.Clone(good), odd))); err == nil {
		t.Error("a signed record of another form: accepted")
	}
	order := func(is ...int) []statement.Body {
		var out []statement.Body
		for _, i := range is {
			out = append(out, good[i])
		}
		return out
	}
	for name, b := range map[string][]statement.Body{
		"head before block":          order(2, 0),
		"sighting before head":       order(0, 4, 2),
		"happening before a block":   order(6, 0, 2),
		"channels unsorted":          order(1, 0, 2, 3),
		"heads unsorted":             order(0, 1, 3, 2),
		"a block twice":              order(0, 0, 2),
		"a block and its head twice": order(0, 0, 2, 2),
		"a head twice":               order(0, 2, 2),
		"block without a head":       order(0, 1, 2),
		"head of another channel":    order(0, 3),
		"head without a block":       order(2),
	} {
		if _, err := statement.ParseUp(up(t, seed, b)); !errors.Is(err, statement.ErrOrder) {
			t.Errorf("%s: %v, want %v", name, err, statement.ErrOrder)
		}
	}
	for name, alter := range map[string]func(*statement.Frame){
		"a count too large": func(f *statement.Frame) { f.Count++ }, "a count too small": func(f *statement.Frame) { f.Count-- },
		"another root": func(f *statement.Frame) { f.Root[0] ^= 1 },
	} {
		if _, err := statement.ParseUp(upOf(t, seed, good, alter)); !errors.Is(err, statement.ErrRecords) {
			t.Errorf("%s: %v", name, err)
		}
	}
	huge := make([]statement.Body, 0, 300)
	for range cap(huge) {
		huge = append(huge, body(t, &statement.Happening{Type: statement.Fault, At: 1, Raw: make([]byte, 1024)}))
	}
	if _, err := statement.EncodeUp(goodStatement(t), seed, huge); err == nil {
		t.Error("a message over 256 KiB made")
	}
}

func planStatement(t testing.TB) *statement.Statement {
	t.Helper()
	return sign(t, signer(t, edKey(2)), header(statement.KindPlan), payloadFor(t, statement.KindPlan))
}

// downs is a good message of every type.
func downs(t testing.TB) []any {
	t.Helper()
	return []any{
		&statement.Receipts{Type: statement.DownReceipts, Checkpoint: []byte("origin\n1\n"), Consistency: []statement.Consistency{{OldSize: 0, Path: []statement.Hash{}},
			{OldSize: 3, Path: []statement.Hash{{1}}}}, Included: []statement.Included{{Seq: 1, ID: statement.Hash{2}, Index: 3, Path: []statement.Hash{{4}, {5}}}}},
		&statement.PlanDown{Type: statement.DownPlan, Plan: planStatement(t).Bytes(), Identities: [][]byte{{1}, {2, 3}}},
		&statement.Cosign{Type: statement.DownCosign, Checkpoint: []byte("origin\n1\n"), Consistency: []statement.Consistency{{OldSize: 3, Path: []statement.Hash{{1}}}}},
		&statement.Final{Type: statement.DownFinal, After: statement.After{Origin: statement.Hash{1}, Size: 2, Root: statement.Hash{3}, ChainID: "c", Height: 4, BlockHash: statement.Hash{5}}},
		&statement.Resend{Type: statement.DownResend, Epoch: 1, From: 2},
	}
}

func TestDown(t *testing.T) {
	for _, want := range downs(t) {
		data := dcbor.MustMarshal(want)
		got, err := statement.ParseDown(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%T: %+v, %v", want, got, err)
		}
		for i := range data {
			if _, err := statement.ParseDown(data[:i]); err == nil {
				t.Fatalf("%T: first %d bytes accepted", want, i)
			}
		}
		if _, err := statement.ParseDown(append(data, 0)); err == nil {
			t.Errorf("%T: trailing byte accepted", want)
		}
	}
}

// TestDownRefuses: a gateway cannot make a device sign what breaks the format.
func TestDownRefuses(t *testing.T) {
	const huge = 1 << 53
	receipts := func(alter func(*statement.Receipts)) any {
		r := downs(t)[0].(*statement.Receipts)
		alter(r)
		return r
	}
	for name, v := range map[string]any{
		"type 0": []any{0}, "cosign of no size": &statement.Cosign{Type: 3}, "cosign with receipts": []any{3, []byte{}, []any{[]any{0, []any{}}}, []any{}}, "type 6": []any{6}, "no type": []any{}, "type as text": []any{"1"},
		"type alone": []any{1}, "a map": map[int]int{1: 1}, "null": nil,
		"no consistency":           receipts(func(r *statement.Receipts) { r.Consistency = nil }),
		"nine consistency proofs":  receipts(func(r *statement.Receipts) { r.Consistency = make([]statement.Consistency, 9) }),
		"old size":                 receipts(func(r *statement.Receipts) { r.Consistency[1].OldSize = huge }),
		"a path from size 0":       receipts(func(r *statement.Receipts) { r.Consistency[1].OldSize = 0 }),
		"a consistency of 129":     receipts(func(r *statement.Receipts) { r.Consistency[1].Path = make([]statement.Hash, 129) }),
		"seq":                      receipts(func(r *statement.Receipts) { r.Included[0].Seq = huge }),
		"index":                    receipts(func(r *statement.Receipts) { r.Included[0].Index = huge }),
		"a path of 65":             receipts(func(r *statement.Receipts) { r.Included[0].Path = make([]statement.Hash, 65) }),
		"checkpoint over 64 KiB":   receipts(func(r *statement.Receipts) { r.Checkpoint = make([]byte, 65537) }),
		"final of a huge size":     &statement.Final{Type: 4, After: statement.After{Size: huge}},
		"final of half a block":    &statement.Final{Type: 4, After: statement.After{Height: 1}},
		"resend of a huge epoch":   &statement.Resend{Type: 5, Epoch: huge},
		"resend from a huge seq":   &statement.Resend{Type: 5, From: huge},
		"resend as a type 4":       &statement.Resend{Type: 4, Epoch: 1},
		"resend with an extra one": []any{5, 1, 2, 3},
	} {
		if got, err := statement.ParseDown(dcbor.MustMarshal(v)); err == nil || got != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := statement.ParseDown(make([]byte, statement.MaxSize+1)); err == nil {
		t.Error("message over 256 KiB accepted")
	}
}
