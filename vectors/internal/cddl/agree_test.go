package cddl

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
	"trailmark/vectors"
)

// samples are good items of the rules of which no vector holds one.
func samples(t *testing.T) []piece {
	t.Helper()
	after := statement.After{Origin: statement.Hash{1}, Size: 9, Root: statement.Hash{2}, ChainID: "c", Height: 4, BlockHash: statement.Hash{3}}
	hashes := []statement.Hash{{4}, {5}}
	until, rssi, code := int64(9), int64(-50), uint64(4)
	moment := statement.Moment{Channel: "c", Head: trace.Head{Size: 1, Digest: trace.Digest{T1: 1, Covered: 1, Limits: []trace.Excess{}}}}
	event := statement.NewEvent([]byte("{}"), statement.Transform, 5, statement.Items{{1}}, statement.EventOf{Object: "o"})
	inputs := statement.Items{{2}}.Root()
	event.Inputs, event.Place, event.Step = &inputs, "https://example.com/", "creating_class_instance"
	return []piece{
		{"down", dcbor.MustMarshal(statement.Receipts{Type: statement.DownReceipts, Checkpoint: []byte("note"),
			Consistency: []statement.Consistency{{OldSize: 0}, {OldSize: 5, Path: hashes}},
			Included:    []statement.Included{{Seq: 3, ID: hashes[0], Index: 7, Path: hashes}}})},
		{"down", dcbor.MustMarshal(statement.PlanDown{Type: statement.DownPlan, Plan: []byte{1}, Identities: [][]byte{{2}}})},
		{"down", dcbor.MustMarshal(statement.Cosign{Type: statement.DownCosign, Checkpoint: []byte("note"), Consistency: []statement.Consistency{{OldSize: 5, Path: hashes}}})},
		{"up", dcbor.MustMarshal(statement.Cosigned{Version: 2, Origin: hashes[0], Size: 5, Line: []byte("line")})},
		{"down", dcbor.MustMarshal(statement.Final{Type: statement.DownFinal, After: after})},
		{"down", dcbor.MustMarshal(statement.Resend{Type: statement.DownResend, Epoch: 1, From: 2})},
		{"handover", dcbor.MustMarshal(statement.Handover{Version: 1, Objects: []string{"urn:epc:id:sgtin:1.2.3"}, At: 5, To: "b", Place: "here"})},
		{"acceptance", dcbor.MustMarshal(statement.Acceptance{Version: 1, Objects: []string{"o"}, At: 5, From: "a", Handover: hashes[0]})},
		{"event", dcbor.MustMarshal(statement.Event{Version: 1, EPCIS: []byte("{}"), Objects: []statement.EventOf{{Object: "o", Prev: hashes[1]}},
			Items: &statement.ItemsRoot{Root: hashes[0], Size: 2}})},
		{"handover", dcbor.MustMarshal(statement.NewHandover([]string{"o"}, 5, "b", "", moment))},
		{"acceptance", dcbor.MustMarshal(statement.NewAcceptance([]string{"o"}, 5, "a", hashes[0], moment))},
		{"event", dcbor.MustMarshal(event)},
		{"item-leaf", dcbor.MustMarshal(statement.Item{Object: "o"})},
		{"item-leaf", dcbor.MustMarshal(statement.Item{Object: "o", TID: make([]byte, 8)})},
		{"happening", dcbor.MustMarshal(statement.Happening{Type: statement.Fault, At: 8, Subject: "a", Until: &until, Count: 2, Code: &code,
			Raw: []byte{0, 1}, Seqs: &[2]uint64{1, 2}, Words: "lost"})},
		{"sighting", dcbor.MustMarshal(statement.Sighting{Antenna: "1", EPC: make([]byte, 12), TID: make([]byte, 8), First: 5, Last: 6, Reads: 2, RSSI: &rssi})},
		{"evm-evidence", dcbor.MustMarshal(map[int]any{1: 1, 2: []byte{0xc0}, 3: []any{[][]byte{{1}}, [][]byte{{2}}, [][]byte{{3}}}})},
		{"evm-evidence", dcbor.MustMarshal(map[int]any{1: 1, 2: []byte{0xc0}, 4: []any{0, 1, [][]byte{{1}}}})},
		{"trust", trust(t)},
	}
}

// trust is a trust file with a chain of each kind.
func trust(t *testing.T) []byte {
	t.Helper()
	all, err := vectors.All()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(all, func(v vectors.Vector) bool { return v.Name == "key-ed25519" })
	key, err := statement.ParseKey(all[at].Body)
	if err != nil {
		t.Fatal(err)
	}
	public := statement.PublicKey{Key: key}
	data, err := (&passport.Trust{Authorities: []statement.PublicKey{public}, Logs: []passport.Log{{Origin: "o", Key: public}}, Audience: "a",
		Chains: []passport.Chain{
			{ID: "c", Kind: passport.Comet, Validators: 1, Keys: []passport.Validator{{Key: [32]byte{1}, Power: 5}}},
			{ID: "e", Kind: passport.EVM, Contract: &passport.Contract{Blocks: []passport.Block{{Number: 1}}}},
		},
		Witnesses: &passport.Witnesses{Quorum: 2, Named: []passport.Witness{{Name: "w", Key: public}}, Devices: true}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// readers are the project's own, by rule. Most know more than the form.
var readers = map[string]func([]byte) error{
	"cose-key":  func(b []byte) error { _, err := statement.ParseKey(b); return err },
	"statement": func(b []byte) error { _, err := statement.Parse(b); return err },
	"record":    func(b []byte) error { _, err := statement.ParseRecord(b); return err },
	"up": func(b []byte) error {
		if statement.IsCosigned(b) {
			_, err := statement.ParseCosigned(b)
			return err
		}
		_, err := statement.ParseUp(b)
		return err
	},
	"down":      func(b []byte) error { _, err := statement.ParseDown(b); return err },
	"receipt":   func(b []byte) error { _, err := statement.ParseReceipt(b); return err },
	"start-of":  func(b []byte) error { _, err := trace.ParseStart(b); return err },
	"trust":     func(b []byte) error { _, err := passport.ParseTrust(b); return err },
	"passport":  func(b []byte) error { _, err := passport.Parse(b); return err },
	"item-leaf": func(b []byte) error { _, err := statement.ParseItem(b); return err },
	"head":      checked[trace.Head],

	"frame":      payload((*statement.Statement).Frame, statement.KindFrame),
	"identity":   payload((*statement.Statement).Identity, statement.KindIdentity),
	"keystatus":  payload((*statement.Statement).KeyStatus, statement.KindKeyStatus),
	"plan":       payload((*statement.Statement).Plan, statement.KindPlan),
	"product":    payload((*statement.Statement).Product, statement.KindProduct),
	"handover":   payload((*statement.Statement).Handover, statement.KindHandover),
	"acceptance": payload((*statement.Statement).Acceptance, statement.KindAcceptance),
	"event":      payload((*statement.Statement).Event, statement.KindEvent),
	"erasure":    payload((*statement.Statement).Erasure, statement.KindErasure),

	"block":     body(statement.RecordBlock),
	"head-rec":  body(statement.RecordHead),
	"sighting":  body(statement.RecordSighting),
	"happening": body(statement.RecordHappening),

	"protected": func(b []byte) error {
		_, err := statement.Parse(signed(b, 0xa0, nil, []byte{0x40}))
		return err
	},
	"receipt-protected": func(b []byte) error {
		proof := dcbor.MustMarshal([]any{1, 0, []any{}})
		_, err := statement.ParseReceipt(signed(b, 0xa1, proofs(proof), []byte{0xf6}))
		return err
	},
}

// checked reads a value that has no reader of its own.
func checked[T interface{ Check() error }](b []byte) error {
	var v T
	if err := dcbor.Unmarshal(b, &v); err != nil {
		return err
	}
	return v.Check()
}

func payload[T any](read func(*statement.Statement) (T, error), kind statement.Kind) func([]byte) error {
	return func(b []byte) error {
		_, err := read(&statement.Statement{Header: statement.Header{Kind: kind}, Payload: b})
		return err
	}
}

func body(kind statement.RecordKind) func([]byte) error {
	return func(b []byte) error { _, err := statement.Body{Kind: kind, Data: b}.Decode(); return err }
}

// signed is a COSE_Sign1 around a protected header.
func signed(protected []byte, unprotected byte, members, payload []byte) []byte {
	b := dcbor.AppendBytes([]byte{0xd2, 0x84}, protected)
	b = append(append(append(b, unprotected), members...), payload...)
	return dcbor.AppendBytes(b, make([]byte, 64))
}

// proofs is the one member of a receipt's unprotected header.
func proofs(proof []byte) []byte {
	return dcbor.AppendBytes([]byte{0x19, 0x01, 0x8c, 0xa1, 0x20, 0x81}, proof)
}

// rich are passports that together have every member.
var rich = []string{"passport-anchored", "passport-audit-erased", "passport-journey-made-of-two", "passport-custody-accepted"}

// short cuts the lists of a passport to the few entries that its form needs.
func short(t *testing.T, data []byte) []byte {
	t.Helper()
	p, err := passport.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	shown := slices.IndexFunc(p.Evidence, func(e passport.Evidence) bool { return e.Shown != nil })
	p.Evidence, p.Trails = p.Evidence[shown:shown+1], p.Trails[:1]
	l, trail := &p.Ledgers[0], &p.Trails[0]
	l.Proof, l.Older, trail.Range.Nodes = l.Proof[:1], l.Older[:min(1, len(l.Older))], trail.Range.Nodes[:1]
	p.Members = p.Members[:min(1, len(p.Members))]
	if p.Inputs != nil {
		p.Inputs = [][]byte{{0}}
	}
	for i := range trail.Runs {
		trail.Runs[i].Records = trail.Runs[i].Records[:1]
	}
	if data, err = p.Encode(); err != nil {
		t.Fatal(err)
	}
	return data
}

// exact are the rules whose readers check the form and nothing else.
var exact = []string{"passport", "protected", "receipt-protected"}

// unread is a digest as a passport's form has it: its bounds are a matter of the
// range proof.
const unread = `digest = [i64, i64, i64, i64, i64, i64, i64, [* [i64, i64, i64, i64]]]
                i64 = -9223372036854775808..9223372036854775807`

// TestAgreement changes good items one place at a time, to what lies about the
// bounds, and holds the document's CDDL against the project's readers: whatever a
// reader takes matches its rule.
func TestAgreement(t *testing.T) {
	s, _ := document(t)
	all, err := vectors.All()
	if err != nil {
		t.Fatal(err)
	}
	good := map[string][][]byte{}
	add := func(p piece) {
		same := func(b []byte) bool { return len(b) == len(p.data) } // most likely
		enough := 5
		if p.rule == "trust" || raced { // the points of a trust file's keys take long to check
			enough = 1
		}
		if readers[p.rule] != nil && len(good[p.rule]) < enough && len(p.data) < 20_000 && !slices.ContainsFunc(good[p.rule], same) {
			good[p.rule] = append(good[p.rule], p.data)
		}
	}
	for _, p := range samples(t) {
		add(p)
	}
	for _, v := range all {
		if v.Header["expect"] == "ok" && (v.Header["kind"] != "passport" || slices.Contains(rich, v.Name)) {
			for _, p := range pieces(t, v) {
				if p.rule == "passport" {
					p.data = short(t, p.data)
				}
				add(p)
				if p.rule == "statement" || p.rule == "receipt" {
					it, err := Read(p.data)
					if err != nil {
						t.Fatal(err)
					}
					header := map[string]string{"statement": "protected", "receipt": "receipt-protected"}[p.rule]
					add(piece{header, it.items[0].items[0].bytes})
				}
			}
		}
	}
	loose, err := Parse(unread)
	if err != nil {
		t.Fatal(err)
	}
	inPassport := &Schema{rules: maps.Clone(s.rules)}
	maps.Copy(inPassport.rules, loose.rules)
	for _, rule := range slices.Sorted(maps.Keys(readers)) {
		judge := s.judge
		switch rule {
		case "statement":
			judge = s.outside
		case "passport":
			judge = inPassport.outside
		}
		var both, neither, stricter int
		for _, sample := range good[rule] {
			if readers[rule](sample) != nil {
				t.Errorf("a good %s of %d bytes is refused", rule, len(sample))
			}
			variants(t, sample, func(b []byte) {
				form := judge(piece{rule, b})
				err := readers[rule](b)
				switch {
				case err == nil && form != nil:
					t.Errorf("the project reads it as %s, but: %v", rule, form)
				case err != nil && form == nil && slices.Contains(exact, rule):
					t.Errorf("it is of rule %s, but: %v", rule, err)
				case err == nil:
					both++
				case form == nil:
					stricter++
				default:
					neither++
				}
			})
		}
		if both == 0 || neither == 0 {
			t.Errorf("%s: %d variants taken and %d refused by both, want some of each", rule, both, neither)
		}
		t.Logf("%-17s %2d samples: %5d variants taken by both, %5d by neither, %4d by the CDDL alone", rule, len(good[rule]), both, neither, stricter)
	}
}

// outside is judge with byte strings unopened.
func (s *Schema) outside(p piece) error {
	it, err := Read(p.data)
	if err != nil {
		return err
	}
	return s.MatchOutside(p.rule, it)
}

// variants calls visit with an item in which one place is changed, for each place
// and several values.
func variants(t *testing.T, data []byte, visit func([]byte)) {
	t.Helper()
	var tag []byte
	rest := data
	if data[0] == 0xd2 {
		tag, rest = data[:1], data[1:]
	}
	var root any
	if err := dcbor.UnmarshalMax(rest, &root, len(rest)); err != nil {
		t.Fatal(err)
	}
	edit(root, func(changed any) { root = changed }, func() {
		visit(append(bytes.Clone(tag), dcbor.MustMarshal(root)...))
	})
}

// bounds are the greatest numbers that some place allows, and one less than the
// least.
var bounds = []int64{-1 << 63, -1<<63 + 1, -1<<31 - 1, -201, -1, 0, 1, 2, 3, 4, 5, 14, 16, 100, 2047, 8191, 8192, 1<<16 - 1, 86_400_000,
	1<<31 - 1, 1<<32 - 1, 1<<48 - 1, 1<<53 - 2, 1<<53 - 1, 1<<63 - 2}

// An array of different things is at most longest long, and those after the first
// few are neither arrays nor maps, but for the last.
const longest, few = 8, 3

func plain(x any) bool {
	switch x.(type) {
	case []any, map[any]any:
		return false
	}
	return true
}

// edit sets an item within a tree, and then each of those in it, to other values,
// one at a time, and calls done after each.
func edit(item any, set func(any), done func()) {
	try := func(values ...any) {
		for _, v := range values {
			set(v)
			done()
		}
		set(item)
	}
	try(nil, true, 0, "", []byte{}, []any{}, map[any]any{})
	number := func(n int64) {
		try(n-1, n+1)
		for _, bound := range bounds {
			try(bound, bound+1)
		}
	}
	switch x := item.(type) {
	case uint64:
		number(int64(x))
	case int64:
		number(x)
	case string:
		for _, n := range []int{1, 2, 14, 15, 16, 17, 20, 21, 64, 65, 256, 257} {
			try(strings.Repeat("a", n))
		}
	case []byte:
		for _, n := range []int{1, 3, 4, 16, 31, 33, 64, 65, 1024, 1025, 1 << 15, 1<<15 + 1, 1 << 16, 1<<16 + 1} {
			try(make([]byte, n))
		}
	case []any:
		if len(x) > 0 {
			try(x[1:], x[:len(x)-1], append(slices.Clone(x), nil))
			size := len(dcbor.MustMarshal(x[0]))
			most := 200_000
			if raced {
				most = 10_000
			}
			for _, n := range []int{1, 2, 8, 9, 16, 17, 64, 65, 128, 129, 256, 257, 2048, 2049, 4096, 4097} {
				if n*size < most {
					try(slices.Repeat(x[:1], n))
				}
			}
		}
		for i := range x {
			if i == 0 || i == len(x)-1 || len(x) <= longest && (i < few || plain(x[i])) {
				edit(x[i], func(v any) { x[i] = v }, done)
			}
		}
	case map[any]any:
		for _, k := range slices.Collect(maps.Keys(x)) { // which change below
			v := x[k]
			delete(x, k)
			done()
			x[k] = v
			edit(v, func(v any) { x[k] = v }, done)
		}
		for k := range 12 {
			if _, ok := x[uint64(k)]; !ok {
				for _, v := range []any{0, 1, true, "a", make([]byte, 32), []any{0, 0}} {
					x[uint64(k)] = v
					done()
				}
				delete(x, uint64(k))
			}
		}
	case bool, nil:
	default:
		panic(fmt.Sprintf("%T in an item", x))
	}
}
