package passport_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

// verify fails the test unless the passport stands.
func verify(t *testing.T, data []byte, trust *passport.Trust) *passport.Verdict {
	t.Helper()
	v, err := passport.Verify(data, trust)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func made(t *testing.T, o passporttest.Options) *passport.Verdict {
	t.Helper()
	data, trust := passporttest.Make(t, o)
	return verify(t, data, trust)
}

func minutes(n int64) int64 { return n * 60_000 }

func TestKept(t *testing.T) {
	v := made(t, passporttest.Options{})
	if v.Outcome != passport.Kept || len(v.Legs) != 2 || len(v.Withheld) != 0 {
		t.Fatalf("outcome %s, %d legs, withheld %v", v.Outcome, len(v.Legs), v.Withheld)
	}
	store, truck := v.Legs[0], v.Legs[1]
	t0 := passporttest.Epoch().UnixMilli()
	if store.From != t0+minutes(30) || store.To != t0+minutes(350) || store.Presence != passport.Seen || store.SeenFor != minutes(320) {
		t.Errorf("store leg %+v", store)
	}
	if truck.From != t0+minutes(390) || truck.To != t0+minutes(625) || truck.Presence != passport.EnteredAndLeft || truck.SeenFor != minutes(3) {
		t.Errorf("truck leg %+v", truck)
	}
	if v.Unmonitored != minutes(40) || v.Unmeasured != 0 || v.Unplaced+v.Undated+v.Conflicts != 0 {
		t.Errorf("unmonitored %d, unmeasured %d", v.Unmonitored, v.Unmeasured)
	}
	if len(store.Channels) != 2 || len(truck.Channels) != 1 {
		t.Fatalf("%d and %d channels, want 2 and 1", len(store.Channels), len(truck.Channels))
	}
	// The store swings by 0.9 °C about 4.4; blocks are of an hour, so all six count.
	if air := store.Channels[0]; air.Min != 3500 || air.Max != 5300 || air.MKT == nil || air.Blocks != 6 {
		t.Errorf("air %+v", air)
	}
	if box := truck.Channels[0]; box.Min != 3900 || box.Max != 6500 || box.Closeness != statement.SameBox {
		t.Errorf("box %+v", box)
	}
	if a := v.Anchors; len(a) != 1 || !a[0].Pinned || a[0].Validators != 1 || a[0].Checked {
		t.Errorf("anchors %+v", a)
	}
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		o       passporttest.Options
		outcome passport.Outcome
		en, zh  string
	}{
		"kept":     {passporttest.Options{}, passport.Kept, "2–8 °C was kept from Hangzhou cold store 1 to Refrigerated truck 3", "从杭州冷库 1 号到沪杭冷藏车 3 号，凡有测量之处，均符合 2–8 °C"},
		"brief":    {passporttest.Options{Brief: true}, passport.Kept, "short times beyond it", "其间有过短时超出"},
		"beyond":   {passporttest.Options{Beyond: true}, passport.Beyond, "8 °C or above for 1 h 20 min in all over the whole journey (allowed: less than 30 min in all)", "全程累计有 1 小时 20 分钟处于 8 °C 及以上（标准：累计须少于 30 分钟）"},
		"withheld": {passporttest.Options{Withheld: true}, passport.Incomplete, "measurements that ought to be shown are not", "有应当出示的测量没有出示"},
		"stale":    {passporttest.Options{Stale: true}, passport.Incomplete, "measurements that ought to be shown are not", "有应当出示的测量没有出示"},
		"humid":    {passporttest.Options{Humid: true}, passport.Incomplete, "nothing measured what the rule asks for at Refrigerated truck 3", "在沪杭冷藏车 3 号没有判定所需的测量"},
		"unruled":  {passporttest.Options{Unruled: true}, passport.Unjudged, "signed no rule", "没有品牌方签署的判定标准"},
		"moment":   {passporttest.Options{Moment: true}, passport.Kept, "2–8 °C was kept", "均符合 2–8 °C"},
		"one zone id at two sites": {passporttest.Options{SameZone: true}, passport.Kept,
			"from Hangzhou cold store 1 to Refrigerated truck 3", "从杭州冷库 1 号到沪杭冷藏车 3 号"},
		"replanned": {passporttest.Options{Replanned: true}, passport.Kept, "2–8 °C was kept", "均符合 2–8 °C"},
		"older":     {passporttest.Options{Older: true}, passport.Kept, "2–8 °C was kept", "均符合 2–8 °C"},
	} {
		t.Run(name, func(t *testing.T) {
			v := made(t, c.o)
			if v.Outcome != c.outcome {
				t.Errorf("outcome %s, want %s: %+v", v.Outcome, c.outcome, v)
			}
			if s := v.Sentence(passport.English); !strings.Contains(s, c.en) {
				t.Errorf("sentence %q lacks %q", s, c.en)
			}
			if s := v.Sentence(passport.Chinese); !strings.Contains(s, c.zh) {
				t.Errorf("sentence %q lacks %q", s, c.zh)
			}
		})
	}
}

func TestWithheldIsNamed(t *testing.T) {
	t0 := passporttest.Epoch().UnixMilli()
	for name, c := range map[string]struct {
		o        passporttest.Options
		from, to int64
	}{
		"whole channel": {passporttest.Options{Withheld: true}, 390, 625},
		"tail":          {passporttest.Options{Stale: true}, 540, 625}, // the older head was signed at minute 540
	} {
		t.Run(name, func(t *testing.T) {
			v := made(t, c.o)
			if len(v.Withheld) != 1 {
				t.Fatalf("withheld %+v, want one", v.Withheld)
			}
			w := v.Withheld[0]
			if w.Leg != 1 || w.Channel != passporttest.Box || w.From != t0+minutes(c.from) || w.To != t0+minutes(c.to) {
				t.Errorf("withheld %+v, want minutes %d to %d", w, c.from, c.to)
			}
			if want := minutes(c.to - c.from); v.Unmeasured != want {
				t.Errorf("unmeasured %d ms, want %d: what is not shown measured nothing", v.Unmeasured, want)
			}
		})
	}
}

func TestReplannedTracesJoin(t *testing.T) {
	data, trust := passporttest.Make(t, passporttest.Options{Replanned: true})
	one := made(t, passporttest.Options{}).Legs[0].Channels[0]
	two := verify(t, data, trust).Legs[0].Channels[0]
	if one.Min != two.Min || one.Max != two.Max || one.Blocks != two.Blocks || two.Unmeasured < 1 || two.Unmeasured >= minutes(5) {
		t.Errorf("two traces amount to %+v, one to %+v", two, one)
	}
	// Without the first trace the second still names it: its time is withheld.
	p := parse(t, data)
	p.Trails = slices.Delete(p.Trails, 0, 1)
	v := verify(t, encode(t, p), trust)
	t0 := passporttest.Epoch().UnixMilli()
	if v.Outcome != passport.Incomplete || len(v.Withheld) != 1 || v.Withheld[0].From != t0+minutes(30) || v.Withheld[0].To < t0+minutes(180) {
		t.Errorf("dropped trace: outcome %s, withheld %+v", v.Outcome, v.Withheld)
	}
}

func TestExplainSaysTheUncomfortable(t *testing.T) {
	v := made(t, passporttest.Options{Simulated: true, Withheld: true})
	for lang, wants := range map[passport.Lang][]string{
		passport.English: {"a simulated device", "Withheld: box", "No key status", "1 of 1 validators", "kept earlier heads", "not checked offline",
			"No witness", "nobody was looking): 40 min", "hidden sighting cannot be excluded", "not where the probe sat"},
		passport.Chinese: {"模拟设备", "未出示：box", "没有出示密钥状态", "1/1 个验证者", "留存过旧账本头", "未离线核对", "没有见证人",
			"无人监控）：40 分钟", "不能排除有行踪未被出示", "不证明探头放在哪里"},
	} {
		var all strings.Builder
		for _, s := range v.Explain(lang, time.FixedZone("CST", 8*3600)) {
			all.WriteString(s.Title + "\n" + strings.Join(s.Lines, "\n") + "\n")
		}
		for _, want := range append(wants, "2026-03-02 08:30:00") {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%s lacks %q:\n%s", lang, want, all.String())
			}
		}
	}
}

func parse(t testing.TB, data []byte) *passport.Passport {
	t.Helper()
	p, err := passport.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func encode(t testing.TB, p *passport.Passport) []byte {
	t.Helper()
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// of is the first evidence of a kind.
func of(t *testing.T, p *passport.Passport, kind statement.Kind) int {
	t.Helper()
	for i, e := range p.Evidence {
		if s, err := statement.Parse(e.Statement); err == nil && s.Header.Kind == kind {
			return i
		}
	}
	t.Fatalf("no %s in the passport", kind)
	return 0
}

// flip alters the last byte of a statement's payload, which the signature
// follows: two bytes of head and 64 of signature.
func flip(raw []byte) []byte {
	raw[len(raw)-67] ^= 1
	return raw
}

func TestRefusals(t *testing.T) {
	type change func(t *testing.T, p *passport.Passport, trust *passport.Trust)
	other, err := statement.NewKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{99}, 32)).Public())
	if err != nil {
		t.Fatal(err)
	}
	forge := func(kind statement.Kind) func(statement.Kind, []byte) []byte {
		return func(k statement.Kind, raw []byte) []byte {
			if k == kind {
				return flip(raw)
			}
			return raw
		}
	}
	for _, c := range []struct {
		name string
		o    passporttest.Options
		edit change
		want passport.Code
	}{
		{"no item", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) { p.Item.GTIN = "1" }, passport.CodeMalformed},
		{"statement is no statement", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[0].Statement = p.Evidence[0].Statement[1:]
		}, passport.CodeMalformed},
		{"frame altered after it was recorded", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			flip(p.Evidence[of(t, p, statement.KindFrame)].Statement)
		}, passport.CodeReceipt},
		{"frame altered by a gateway that records it so", passporttest.Options{Forge: forge(statement.KindFrame)}, nil, passport.CodeSignature},
		{"product altered by a gateway that records it so", passporttest.Options{Forge: forge(statement.KindProduct)}, nil, passport.CodeSignature},
		{"identity altered", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			flip(p.Evidence[of(t, p, statement.KindIdentity)].Statement)
		}, passport.CodeSignature},
		{"foreign authority", passporttest.Options{}, func(t *testing.T, _ *passport.Passport, trust *passport.Trust) {
			trust.Authorities[0].Key = other
		}, passport.CodeUntrusted},
		{"plan by a device", passporttest.Options{WrongRole: true}, nil, passport.CodeUntrusted},
		{"identity dropped", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			i := of(t, p, statement.KindIdentity)
			p.Evidence[i] = p.Evidence[of(t, p, statement.KindPlan)]
		}, passport.CodeUntrusted},
		{"another audience", passporttest.Options{}, func(t *testing.T, _ *passport.Passport, trust *passport.Trust) {
			trust.Audience = "acme/production"
		}, passport.CodeSignature},
		{"receipt dropped", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[of(t, p, statement.KindFrame)].Receipt = nil
		}, passport.CodeReceipt},
		{"receipt of another statement", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[0].Receipt = p.Evidence[1].Receipt
		}, passport.CodeReceipt},
		{"receipt at a checkpoint that is not there", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[0].Receipt.Checkpoint = 1
		}, passport.CodeReceipt},
		{"unknown ledger", passporttest.Options{}, func(t *testing.T, _ *passport.Passport, trust *passport.Trust) {
			trust.Logs[0].Origin = "ledger.example.com/acme/2026h2"
		}, passport.CodeCheckpoint},
		{"another log key", passporttest.Options{}, func(t *testing.T, _ *passport.Passport, trust *passport.Trust) {
			trust.Logs[0].Key.Key = other
		}, passport.CodeCheckpoint},
		{"record path altered", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[of(t, p, statement.KindFrame)].Records[0].Path[0][0] ^= 1
		}, passport.CodeRecord},
		{"record altered", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[of(t, p, statement.KindFrame)].Records[0].Record[3] ^= 1 // its salt
		}, passport.CodeRecord},
		{"record shown twice", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			e := &p.Evidence[of(t, p, statement.KindFrame)]
			e.Records = append(e.Records, e.Records[0])
		}, passport.CodeRecord},
		{"record of a plan", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[of(t, p, statement.KindPlan)].Records = p.Evidence[of(t, p, statement.KindFrame)].Records
		}, passport.CodeRecord},
		{"range altered", passporttest.Options{Tampered: true}, nil, passport.CodeRange},
		{"range lacks a node", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Trails[0].Range.Nodes = p.Trails[0].Range.Nodes[1:]
		}, passport.CodeRange},
		{"a block of the stay left out", passporttest.Options{Narrow: true}, nil, passport.CodeWindow},
		{"older head without its proof", passporttest.Options{Older: true}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			o := &p.Trails[0].Older[0]
			o.Proof = o.Proof[1:]
		}, passport.CodeConsistency},
		{"older head of another channel", passporttest.Options{Older: true}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			o, other := &p.Trails[0].Older[0], p.Trails[1].Head
			o.Evidence, o.Record = other.Evidence, other.Record
		}, passport.CodeConsistency},
		{"trail headed by another channel", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Trails[0].Head = p.Trails[1].Head
		}, passport.CodeTrace},
		{"trail headed by a sighting", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			i := of(t, p, statement.KindFrame)
			p.Trails[0].Head = passport.Ref{Evidence: uint64(i), Record: p.Evidence[i].Records[0].Index}
		}, passport.CodeTrace},
		{"trail of another start", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Trails[0].Start = p.Trails[1].Start
		}, passport.CodeTrace},
		{"trail of no leg", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Trails[0].Zone = "elsewhere"
		}, passport.CodeTrace},
		{"trail shown twice", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Trails = append(p.Trails, p.Trails[0])
		}, passport.CodeTrace},
		{"a leg's only plan dropped", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[of(t, p, statement.KindPlan)] = p.Evidence[0] // twice the same: as if it were not there
		}, passport.CodeTrace},
		{"the plan a trace began under dropped", passporttest.Options{Replanned: true}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) {
			p.Evidence[of(t, p, statement.KindPlan)] = p.Evidence[0]
		}, passport.CodePlan},
		{"sighting of another item", passporttest.Options{Foreign: true}, nil, passport.CodeItem},
		{"shown as another item", passporttest.Options{}, func(t *testing.T, p *passport.Passport, _ *passport.Trust) { p.Item.Serial = "1002" }, passport.CodeItem},
		{"identity expired", passporttest.Options{Expired: true}, nil, passport.CodeExpired},
		{"device revoked", passporttest.Options{Revoked: statement.RoleDevice}, nil, passport.CodeRevoked},
		{"site revoked", passporttest.Options{Revoked: statement.RoleSite}, nil, passport.CodeRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, trust := passporttest.Make(t, c.o)
			if c.edit != nil {
				p := parse(t, data)
				c.edit(t, p, trust)
				data = encode(t, p)
			}
			v, err := passport.Verify(data, trust)
			var r *passport.Refusal
			if !errors.As(err, &r) {
				t.Fatalf("not refused: %+v, %v", v, err)
			}
			if r.Code != c.want {
				t.Errorf("refused as %v, want %s", r, c.want)
			}
			if r.Code.Sentence(passport.Chinese) == passport.Code("").Sentence(passport.Chinese) {
				t.Errorf("code %s has no words", r.Code)
			}
		})
	}
}

// TestDropped drops each statement in turn: the passport is refused, or the
// verdict says so.
func TestDropped(t *testing.T) {
	data, trust := passporttest.Make(t, passporttest.Options{})
	whole := verify(t, data, trust)
	for i := range parse(t, data).Evidence {
		p := parse(t, data)
		p.Evidence = slices.Delete(p.Evidence, i, i+1)
		for j := range p.Trails {
			if r := &p.Trails[j].Head; r.Evidence > uint64(i) {
				r.Evidence--
			}
		}
		v, err := passport.Verify(encode(t, p), trust)
		if err == nil && v.Outcome == passport.Kept && reflect.DeepEqual(v.Legs, whole.Legs) {
			t.Errorf("statement %d can be left out unseen", i)
		}
	}
}

// TestMutations flips single bits: the passport is refused, or nothing that the
// verdict says is different but what it calls declared.
func TestMutations(t *testing.T) {
	data, trust := passporttest.Make(t, passporttest.Options{Older: true})
	want := declaredAside(t, verify(t, data, trust))
	rng := rand.New(rand.NewPCG(1, 2))
	refused, same := 0, 0
	for range 2000 {
		at, bit := rng.IntN(len(data)), rng.IntN(8)
		altered := bytes.Clone(data)
		altered[at] ^= 1 << bit
		v, err := passport.Verify(altered, trust)
		if err != nil {
			var r *passport.Refusal
			if !errors.As(err, &r) {
				t.Fatalf("byte %d bit %d: %v is no refusal", at, bit, err)
			}
			refused++
			continue
		}
		if got := declaredAside(t, v); !reflect.DeepEqual(got, want) {
			t.Fatalf("byte %d bit %d changes the verdict unseen:\n%+v\n%+v", at, bit, got, want)
		}
		same++
	}
	t.Logf("%d bytes: %d refused, %d without effect", len(data), refused, same)
	if refused < 1900 {
		t.Errorf("only %d of 2000 refused", refused)
	}
}

// declaredAside leaves out what the verdict itself says is only declared: the
// anchor, until a block's commit is checked, and the lateness counted from it.
func declaredAside(t *testing.T, v *passport.Verdict) *passport.Verdict {
	t.Helper()
	for _, a := range v.Anchors {
		if a.Checked {
			t.Fatal("an anchor counts as checked")
		}
	}
	v.Anchors = nil
	for i := range v.Legs {
		for j := range v.Legs[i].Channels {
			v.Legs[i].Channels[j].Late = 0
		}
	}
	return v
}

func TestParseBounds(t *testing.T) {
	data, _ := passporttest.Make(t, passporttest.Options{})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":          {nil, "malformed cbor"},
		"truncated":      {data[:len(data)-1], "malformed cbor"},
		"trailing":       {append(bytes.Clone(data), 0), "malformed cbor"},
		"too large":      {make([]byte, passport.MaxSize+1), "over the limit"},
		"no checkpoints": {encode(t, &passport.Passport{Item: passport.Item{GTIN: passporttest.GTIN, Serial: "1"}}), "0 checkpoints"},
	} {
		if _, err := passport.Parse(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestTrustFile(t *testing.T) {
	_, trust := passporttest.Make(t, passporttest.Options{})
	data, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := passport.ParseTrust(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Encode(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("trust file does not survive: %v", err)
	}
	back.Authorities = nil
	none, err := back.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := passport.ParseTrust(none); err == nil || !strings.Contains(err.Error(), "0 authorities") {
		t.Errorf("trust in nobody: %v", err)
	}
}

func TestNumbersAndDurations(t *testing.T) {
	for milli, want := range map[int64]string{0: "0", 4203: "4.203", 62: "0.062", -500: "−0.5", 8000: "8"} {
		if got := passport.Value(milli); got != want {
			t.Errorf("value %d is %q, want %q", milli, got, want)
		}
	}
	if got := passport.Mean(-40); got != "0.0" {
		t.Errorf("mean is %q", got)
	}
	for ms, want := range map[int64]string{0: "0 s", 1: "under 1 s", 999: "1 s", 61_000: "1 min 1 s", minutes(30): "30 min", minutes(75): "1 h 15 min", minutes(60 * 49): "2 days 1 h"} {
		if got := passport.English.Duration(ms); got != want {
			t.Errorf("%d ms are %q, want %q", ms, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, o := range []passporttest.Options{{}, {Older: true, Replanned: true}, {Withheld: true}} {
		data, _ := passporttest.Make(f, o)
		f.Add(data)
	}
	_, trust := passporttest.Make(f, passporttest.Options{})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := passport.Parse(data)
		if err != nil {
			return
		}
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("decodes to what encodes otherwise: %v", err)
		}
		v, err := passport.Verify(data, trust)
		if err == nil {
			v.Explain(passport.Chinese, time.UTC)
			v.Sentence(passport.English)
		}
	})
}

func FuzzParseTrust(f *testing.F) {
	_, trust := passporttest.Make(f, passporttest.Options{})
	data, err := trust.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := passport.ParseTrust(data)
		if err != nil {
			return
		}
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("decodes to what encodes otherwise: %v", err)
		}
	})
}
