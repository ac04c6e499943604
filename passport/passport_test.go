package passport_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

// now is when the tests verify: an hour after the key status.
func now() time.Time { return passporttest.Epoch().Add(760 * time.Minute) }

// verify fails the test unless the passport stands.
func verify(t *testing.T, data []byte, trust *passport.Trust) *passport.Verdict {
	t.Helper()
	v, err := passport.Verify(data, trust, now())
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

// TestRotatedTracesJoin: a channel goes on under the device's next key, and under
// no other; what is left out at the seam is withheld.
func TestRotatedTracesJoin(t *testing.T) {
	type span struct{ from, to int64 } // minutes
	air := map[string][]span{
		"rotated":                              nil,
		"rotated-old-trace-left-out":           {{30, 185}},
		"rotated-new-trace-left-out":           {{180, 350}},
		"rotated-old-head-from-before-the-end": {{120, 185}},
		"rotated-new-key-alone":                {{180, 185}},
		"rotated-to-another-device":            {{180, 350}, {30, 185}},
		"rotated-from-another-key":             {{180, 350}, {30, 185}},
		"rotated-over-an-epoch":                {{180, 350}, {30, 185}},
	}
	t0 := passporttest.Epoch().UnixMilli()
	one := made(t, passporttest.Options{})
	for _, c := range passporttest.Standing() {
		want, ok := air[c.Name]
		if !ok {
			continue
		}
		delete(air, c.Name)
		data, trust := c.Make(t)
		v := verify(t, data, trust)
		var got []span
		for _, w := range v.Withheld {
			if w.Channel == passporttest.Air {
				got = append(got, span{(w.From - t0) / minutes(1), (w.To - t0 + minutes(1) - 1) / minutes(1)})
			}
		}
		if !slices.Equal(got, want) || (v.Outcome == passport.Kept) != (want == nil) {
			t.Errorf("%s: outcome %s, withheld %v, want %v", c.Name, v.Outcome, got, want)
		}
		if want != nil {
			continue
		}
		whole, joined := one.Legs[0], v.Legs[0]
		if joined.Presence != whole.Presence || joined.From != whole.From || joined.To != whole.To || len(joined.Channels) != len(whole.Channels) || len(v.Devices) != len(one.Devices)+1 {
			t.Errorf("%s: leg %+v, devices %+v", c.Name, joined, v.Devices)
		}
		if a, b := whole.Channels[0], joined.Channels[0]; a.Device != b.Device || a.Min != b.Min || a.Max != b.Max || a.Blocks != b.Blocks || b.Unmeasured >= minutes(5) {
			t.Errorf("%s: two traces amount to %+v, one to %+v", c.Name, b, a)
		}
	}
	if len(air) > 0 {
		t.Errorf("no such cases: %v", air)
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

func TestRefusals(t *testing.T) {
	for _, c := range passporttest.Refused() {
		t.Run(c.Name, func(t *testing.T) {
			data, trust := c.Make(t)
			v, err := passport.Verify(data, trust, now())
			var r *passport.Refusal
			if !errors.As(err, &r) {
				t.Fatalf("not refused: %+v, %v", v, err)
			}
			if r.Code != c.Code {
				t.Errorf("refused as %v, want %s", r, c.Code)
			}
			if r.Code.Sentence(passport.Chinese) == passport.Code("").Sentence(passport.Chinese) {
				t.Errorf("code %s has no words", r.Code)
			}
		})
	}
}

// TestStanding: each case stands, and says something of its own.
func TestStanding(t *testing.T) {
	seen := map[string]string{}
	for _, c := range passporttest.Standing() {
		t.Run(c.Name, func(t *testing.T) {
			data, trust := c.Make(t)
			text, err := json.Marshal(verify(t, data, trust))
			if err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(strings.ReplaceAll(stringsOf.ReplaceAllString(string(text), ""), "e", ""), ".E") {
				t.Errorf("a number has a fraction: %s", text)
			}
			if other, twice := seen[string(text)]; twice {
				t.Errorf("the same verdict as %s", other)
			}
			seen[string(text)] = c.Name
		})
	}
}

var stringsOf = regexp.MustCompile(`"[^"]*"|true|false|null`)

// TestDropped leaves out each statement in turn, as a gateway can: the passport
// is refused, or the verdict says something else.
func TestDropped(t *testing.T) {
	data, trust := passporttest.Make(t, passporttest.Options{})
	whole := verify(t, data, trust)
	dropped := 0
	for _, kind := range []statement.Kind{statement.KindIdentity, statement.KindPlan, statement.KindProduct, statement.KindFrame} {
		for nth := 1; nth <= 20; nth++ {
			less, trust := passporttest.Make(t, passporttest.Options{Omit: func(k statement.Kind, n int) bool { return k == kind && n == nth }})
			if bytes.Equal(less, data) {
				continue // not shown at all, or the frame of a trail's head
			}
			dropped++
			v, err := passport.Verify(less, trust, now())
			if err == nil && reflect.DeepEqual(v.Legs, whole.Legs) && v.Outcome == whole.Outcome {
				t.Errorf("%s %d can be left out unseen", kind, nth)
			}
		}
	}
	if dropped < 10 {
		t.Errorf("only %d statements can be left out", dropped)
	}
}

// TestMutations alters the file in ten thousand ways: it is refused with a code,
// or the verdict is the same but for what it calls declared itself.
func TestMutations(t *testing.T) {
	for name, o := range map[string]passporttest.Options{
		"declared": {Older: true},
		"checked":  {Older: true, Anchored: true, KeyStatus: true, Audit: true},
		"evm":      {Older: true, Anchored: true, KeyStatus: true, EVM: &passporttest.EVM{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, trust := passporttest.Make(t, o)
			whole := verify(t, data, trust)
			rng := rand.New(rand.NewPCG(1, 2))
			refused, same, weaker := map[passport.Code]int{}, map[int]bool{}, map[int]bool{}
			n := 5000
			if raced {
				n /= 10
			}
			for range n {
				altered := bytes.Clone(data)
				at := rng.IntN(len(data))
				switch rng.IntN(4) {
				case 0, 1:
					altered[at] ^= 1 << rng.IntN(8)
				case 2:
					altered[at] = byte(rng.Uint32())
				default:
					n := min(len(data)-at, 1+rng.IntN(32))
					copy(altered[at:], data[rng.IntN(len(data)-n+1):][:n])
				}
				if bytes.Equal(altered, data) {
					continue
				}
				v, err := passport.Verify(altered, trust, now())
				var r *passport.Refusal
				switch {
				case errors.As(err, &r) && r.Code.Sentence(passport.English) != passport.Code("").Sentence(passport.English):
					refused[r.Code]++
				case err != nil:
					t.Fatalf("byte %d: %v is no refusal with a code", at, err)
				case checked(v) > checked(whole) || !reflect.DeepEqual(aside(v, checked(v) < checked(whole)), aside(whole, checked(v) < checked(whole))):
					t.Fatalf("byte %d changes the verdict unseen:\n%+v\n%+v", at, v, whole)
				case checked(v) < checked(whole):
					weaker[at] = true
				default:
					same[at] = true
				}
			}
			t.Logf("%d bytes; refused %v; without effect at %v; an anchor less is checked at %v", len(data), refused,
				slices.Sorted(maps.Keys(same)), slices.Sorted(maps.Keys(weaker)))
			chain := passporttest.Chain
			if o.EVM != nil {
				chain = passporttest.EVMChain
			}
			for at := range weaker { // in the name or kind of its chain: one that nobody pins
				if !bytes.Contains(data[max(0, at-len(chain)-4):min(len(data), at+len(chain)+4)], []byte(chain)) {
					t.Errorf("byte %d takes a proof away and is no chain's name", at)
				}
			}
			anchor := bytes.Index(data, []byte(chain)) // the declared anchor: chain, kind, height, block, time
			for at := range same {
				if bytes.HasPrefix(data[at+1:], []byte("=\n")) || bytes.HasPrefix(data[at+1:], []byte("==\n")) {
					continue // unused bits of a note's signature, which an EVM anchor does not hold
				}
				if name != "declared" || at < anchor-3 || at > anchor+len(chain)+48 {
					t.Errorf("byte %d can be altered without effect and is no declared anchor", at)
				}
			}
		})
	}
}

func checked(v *passport.Verdict) (n int) {
	for _, a := range v.Anchors {
		if a.Checked {
			n++
		}
	}
	return n
}

// aside leaves out what the verdict itself says is only declared, or all that
// rests on anchors.
func aside(v *passport.Verdict, all bool) *passport.Verdict {
	out := *v
	out.Anchors, out.Legs = nil, slices.Clone(v.Legs)
	for _, a := range v.Anchors {
		if a.Checked && !all {
			out.Anchors = append(out.Anchors, a)
		}
	}
	bound := func(b *passport.Bound) {
		if all {
			*b = passport.Bound{}
		} else if b.Proof == passport.Declared {
			b.Time = 0
		}
	}
	for i := range out.Legs {
		leg := &out.Legs[i]
		bound(&leg.NotBefore)
		bound(&leg.NotAfter)
		leg.Channels = slices.Clone(leg.Channels)
		for j := range leg.Channels {
			ch := &leg.Channels[j]
			ch.Heads = slices.Clone(ch.Heads)
			for k := range ch.Heads {
				bound(&ch.Heads[k].Anchor)
			}
			if all {
				ch.LateProof = passport.None
			}
			if all || ch.LateProof == passport.Declared {
				ch.Late = 0
			}
		}
	}
	return &out
}

func TestParseBounds(t *testing.T) {
	data, _ := passporttest.Make(t, passporttest.Options{})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":      {nil, "malformed cbor"},
		"truncated":  {data[:len(data)-1], "malformed cbor"},
		"trailing":   {append(bytes.Clone(data), 0), "malformed cbor"},
		"too large":  {make([]byte, passport.MaxAudit+1), "over the limit"},
		"no ledgers": {encode(t, &passport.Passport{Item: passport.Item{GTIN: passporttest.GTIN, Serial: "1"}}), "0 ledgers"},
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

// TestTrustedBlocks: a trust file of version 2 pins blocks of EVM chains, in one
// form only.
func TestTrustedBlocks(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(c *passport.Chain)
		want string
	}{
		"two":                {func(c *passport.Chain) { c.Contract.Blocks = append(c.Contract.Blocks, passport.Block{Number: 51}) }, ""},
		"no contract":        {func(c *passport.Chain) { c.Contract = nil }, ""},
		"of a CometBFT":      {func(c *passport.Chain) { c.Kind = passport.Comet }, "chain of kind 1"},
		"none":               {func(c *passport.Chain) { c.Contract.Blocks = nil }, "0 blocks"},
		"too many":           {func(c *passport.Chain) { c.Contract.Blocks = make([]passport.Block, 4097) }, "4097 blocks"},
		"out of order":       {func(c *passport.Chain) { c.Contract.Blocks = append(c.Contract.Blocks, passport.Block{Number: 49}) }, "block 49"},
		"one number twice":   {func(c *passport.Chain) { c.Contract.Blocks = append(c.Contract.Blocks, c.Contract.Blocks[0]) }, "block 50"},
		"number above 2^53":  {func(c *passport.Chain) { c.Contract.Blocks[0].Number = 1 << 53 }, "block 9007199254740992"},
		"keys of validators": {func(c *passport.Chain) { c.Keys, c.Validators = []passport.Validator{{Power: 1}}, 1 }, "1 keys"},
	} {
		_, trust := passporttest.Make(t, passporttest.Options{EVM: &passporttest.EVM{}})
		c.edit(&trust.Chains[0])
		data, err := trust.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := passport.ParseTrust(data)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(back, trust) {
			t.Fatalf("%s: %+v, %v", name, back, err)
		}
		if want := map[bool]uint64{true: 2, false: 1}[trust.Chains[0].Contract != nil]; back.Version != want {
			t.Errorf("%s: version %d, want %d", name, back.Version, want)
		}
		other := bytes.Clone(data)
		other[2] ^= 3 // the version
		if _, err := passport.ParseTrust(other); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("%s: under the other version: %v", name, err)
		}
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
	for _, o := range []passporttest.Options{{}, {Older: true, Replanned: true}, {Withheld: true},
		{Journey: &passporttest.Journey{Made: true}}, {Journey: &passporttest.Journey{Handed: true, Accepted: true, Unpacked: true}}} {
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
		v, err := passport.Verify(data, trust, now())
		if err == nil {
			v.Explain(passport.Chinese, time.UTC)
			v.Sentence(passport.English)
		}
	})
}

func FuzzParseTrust(f *testing.F) {
	for _, o := range []passporttest.Options{{}, {EVM: &passporttest.EVM{}}} {
		_, trust := passporttest.Make(f, o)
		data, err := trust.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
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
