package trace_test

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"trailmark/trace"
)

// TestMergeAssociative: (a·b)·c = a·(b·c), and both are what the readings say.
func TestMergeAssociative(t *testing.T) {
	for seed := range uint64(300) {
		h := random(t, rngOf(3000+seed), 3)
		var d [3]trace.Digest
		for i := range d {
			d[i] = oracle(h.spec, h.blocks[i])
		}
		merge := func(l, r trace.Digest) trace.Digest {
			m, err := trace.Merge(l, r)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			return m
		}
		left, right := merge(merge(d[0], d[1]), d[2]), merge(d[0], merge(d[1], d[2]))
		if want := oracle(h.spec, h.readings(0, 3)); !same(left, right) || !same(left, want) {
			t.Fatalf("seed %d: (ab)c = %+v\na(bc) = %+v\nwant    %+v", seed, left, right, want)
		}
	}
}

func TestMergeRefusesOverlap(t *testing.T) {
	l := trace.Digest{T0: 100, T1: 200, Covered: 100}
	for _, t0 := range []int64{0, 100, 199} {
		if _, err := trace.Merge(l, trace.Digest{T0: t0, T1: 300, Covered: 1}); err == nil {
			t.Errorf("span from %d ms merged after one until %d ms", t0, l.T1)
		}
	}
	if _, err := trace.Merge(l, trace.Digest{T0: 200, T1: 300, Covered: 1}); err != nil {
		t.Errorf("adjacent spans: %v", err)
	}
	if _, err := trace.Merge(l, trace.Digest{T0: 200, T1: 300, Covered: 1, Limits: make([]trace.Excess, 1)}); err == nil {
		t.Error("digests of two specs merged")
	}
	// The same holds where a device appends.
	h := grow(t, trace.Spec{Nominal: 10}, [][][2]int64{{{100, 1}, {110, 1}}})
	f := trace.Frontier{Start: startHash, Size: 1, Peaks: []trace.Node{h.store[[2]uint64{0, 0}]}}
	early := trace.Digest{T0: 109, T1: 120, Covered: 11, Min: 1, Max: 1, Sum: 11, Limits: []trace.Excess{}}
	if _, _, err := f.Append(recordHash(1), early); err == nil {
		t.Error("block appended before the trace's end")
	}
}

// TestUncoveredCountsIntoRun is attack (!) of section 4: a custodian who pulls
// the probe while the goods are warm must not cut the run short.
func TestUncoveredCountsIntoRun(t *testing.T) {
	spec := trace.Spec{Unit: "Cel", Nominal: 1000, Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}}}
	hour := int64(3_600_000)
	for _, blocks := range [][][][2]int64{
		{{{10_000, 8000}, {10_000 + hour, 9000}}},   // within a block
		{{{10_000, 8000}}, {{10_000 + hour, 9000}}}, // between two
	} {
		h := grow(t, spec, blocks)
		got := h.heads[len(h.heads)-1].Digest
		want := trace.Excess{Total: 1 + 2000, Prefix: hour + 1, Suffix: hour + 1, Longest: hour + 1}
		if got.Limits[0] != want {
			t.Errorf("%d blocks: %+v, want %+v", len(blocks), got.Limits[0], want)
		}
		if got.Uncovered() != hour-2000 {
			t.Errorf("uncovered %d ms, want %d", got.Uncovered(), hour-2000)
		}
	}
}

// TestLimitValueIsBeyond: the value itself counts as beyond, on both sides.
func TestLimitValueIsBeyond(t *testing.T) {
	for _, c := range []struct {
		comparison trace.Comparison
		value      int64
		want       bool
	}{
		{trace.AtOrBelow, 1999, true}, {trace.AtOrBelow, 2000, true}, {trace.AtOrBelow, 2001, false},
		{trace.AtOrAbove, 1999, false}, {trace.AtOrAbove, 2000, true}, {trace.AtOrAbove, 2001, true},
	} {
		if got := (trace.Limit{Comparison: c.comparison, Value: 2000}).Beyond(c.value); got != c.want {
			t.Errorf("comparison %d: %d beyond 2000 is %v", c.comparison, c.value, got)
		}
	}
}

func TestLeafRefuses(t *testing.T) {
	cel := trace.Spec{Unit: "Cel", Nominal: 1000}
	for name, c := range map[string]struct {
		spec          trace.Spec
		prev          int64
		times, values []int64
	}{
		"no readings":            {cel, -1, nil, nil},
		"times without values":   {cel, -1, []int64{5, 6}, []int64{1}},
		"time zero of a trace":   {cel, -1, []int64{0}, []int64{1}},
		"time equal to previous": {cel, 5, []int64{5}, []int64{1}},
		"times equal":            {cel, -1, []int64{5, 5}, []int64{1, 1}},
		"times backwards":        {cel, -1, []int64{5, 4}, []int64{1, 1}},
		"time over 48 bits":      {cel, -1, []int64{1 << 48}, []int64{1}},
		"value over 32 bits":     {trace.Spec{Nominal: 1000}, -1, []int64{5}, []int64{1 << 31}},
		"value under 32 bits":    {trace.Spec{Nominal: 1000}, -1, []int64{5}, []int64{-1<<31 - 1}},
		"too hot for a kinetic":  {cel, -1, []int64{5}, []int64{125_001}},
		"too cold for a kinetic": {cel, -1, []int64{5}, []int64{-100_001}},
		"nominal zero":           {trace.Spec{}, -1, []int64{5}, []int64{1}},
		"nominal negative":       {trace.Spec{Nominal: -1}, -1, []int64{5}, []int64{1}},
		"nominal over a day":     {trace.Spec{Nominal: 86_400_001}, -1, []int64{5}, []int64{1}},
		"nine limits":            {trace.Spec{Nominal: 1, Limits: make([]trace.Limit, 9)}, -1, []int64{5}, []int64{1}},
		"comparison 3":           {trace.Spec{Nominal: 1, Limits: []trace.Limit{{Comparison: 3}}}, -1, []int64{5}, []int64{1}},
		"limit over 32 bits":     {trace.Spec{Nominal: 1, Limits: []trace.Limit{{Comparison: 1, Value: 1 << 31}}}, -1, []int64{5}, []int64{1}},
	} {
		if d, err := c.spec.Leaf(c.prev, c.times, c.values); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestOverflow: an aggregate outside its integer bound is refused, in a block,
// in a merge, on appending and by the check of a foreign digest. Nothing wraps.
func TestOverflow(t *testing.T) {
	const day = 86_400_000
	spec := trace.Spec{Nominal: day}
	hot := trace.Spec{Unit: "Cel", Nominal: day}
	// One reading of 2^31−1 over two days: 3.7e17. Twenty-five of them pass 2^63.
	times, values, kelvin := make([]int64, 60), make([]int64, 60), make([]int64, 60)
	for i := range times {
		times[i], values[i], kelvin[i] = int64(i+1)*2*day, trace.MaxValue, 125_000
	}
	if _, err := spec.Leaf(0, times, values); !errors.Is(err, trace.ErrOverflow) {
		t.Errorf("sum over 2^63: %v", err)
	}
	for i := range values {
		values[i] = trace.MinValue
	}
	if _, err := spec.Leaf(0, times, values); !errors.Is(err, trace.ErrOverflow) {
		t.Errorf("sum under -2^63: %v", err)
	}
	if _, err := hot.Leaf(0, times, kelvin); err != nil {
		t.Errorf("sixty times two days at 125 °C are within bounds: %v", err)
	}

	// Halves which fit, and whose whole does not.
	half, err := spec.Leaf(0, times[:20], values[:20])
	if err != nil {
		t.Fatal(err)
	}
	rest, err := spec.Leaf(times[19], times[20:40], values[20:40])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trace.Merge(half, rest); !errors.Is(err, trace.ErrOverflow) {
		t.Errorf("merge under -2^63: %v", err)
	}
	f, _, err := trace.Frontier{Start: startHash}.Append(recordHash(0), half)
	if err != nil {
		t.Fatal(err)
	}
	if g, made, err := f.Append(recordHash(1), rest); !errors.Is(err, trace.ErrOverflow) || g.Size != 1 || made != nil {
		t.Errorf("append under -2^63: size %d, %v", g.Size, err)
	}
	// Not every overflow shows where two peaks join: the third block does not
	// join its neighbours yet, but the head of all three would wrap.
	third, err := spec.Leaf(times[19], times[20:22], values[20:22])
	if err != nil {
		t.Fatal(err)
	}
	g, _, err := f.Append(recordHash(1), third)
	if err != nil {
		t.Fatal(err)
	}
	last, err := spec.Leaf(times[21], times[22:40], values[22:40])
	if err != nil {
		t.Fatal(err)
	}
	if h, _, err := g.Append(recordHash(2), last); !errors.Is(err, trace.ErrOverflow) || h.Size != 2 {
		t.Errorf("third peak: size %d, %v", h.Size, err)
	}

	// kin: a Kinetic of 5e7 over 2^48 ms passes 2^63.
	k, err := trace.Kinetic(125_000)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(math.MaxInt64/k) - 1
	a := trace.Digest{T0: 0, T1: n, Covered: n, Min: 125_000, Max: 125_000, Sum: n * 125_000, Kin: n * k, Limits: []trace.Excess{}}
	if err := hot.CheckDigest(a); err != nil {
		t.Fatal(err)
	}
	b := a
	b.T0, b.T1 = a.T1, 2*a.T1
	if b.T1 > trace.MaxTime {
		t.Fatal("example is out of bounds for another reason")
	}
	if _, err := trace.Merge(a, b); !errors.Is(err, trace.ErrOverflow) {
		t.Errorf("kinetic sum over 2^63: %v", err)
	}

	// A digest whose true products pass 64 bits is judged in 128.
	span := int64(trace.MaxTime)
	for _, sum := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64} {
		d := trace.Digest{T0: 0, T1: span, Covered: span, Min: trace.MaxValue - 1, Max: trace.MaxValue, Sum: sum, Limits: []trace.Excess{}}
		if err := spec.CheckDigest(d); err == nil {
			t.Errorf("sum %d passes for a product over 2^63", sum)
		}
		d.Min, d.Max = trace.MinValue, trace.MinValue+1
		if err := spec.CheckDigest(d); err == nil {
			t.Errorf("sum %d passes for a product under -2^63", sum)
		}
	}
	wide := trace.Digest{T0: 0, T1: span, Covered: span, Min: trace.MinValue, Max: trace.MaxValue, Sum: math.MaxInt64, Limits: []trace.Excess{}}
	if err := spec.CheckDigest(wide); err != nil {
		t.Errorf("a possible sum is refused: %v", err)
	}
}

// TestKineticHasMargin holds that every correct exp gives the same integers: no
// value in range is as near to a half as the error of a poor exp. Those that come
// near are looked at with 200 bits.
func TestKineticHasMargin(t *testing.T) {
	const margin = 3.8e-6 // docs/wire-format.md section 4
	nearest, at, tightest := 1.0, int64(0), math.Inf(1)
	for v := int64(-100_000); v <= 125_000; v++ {
		x := 1000 * math.Exp(10_000*(1/278.15-1/(273.15+float64(v)/1000)))
		got, err := trace.Kinetic(v)
		if err != nil {
			t.Fatal(err)
		}
		distance := math.Abs(x - math.Floor(x) - 0.5)
		if distance < 2e-4 || v%2500 == 0 {
			want, exact := bigKinetic(v)
			if got != want {
				t.Errorf("kinetic of %d m°C is %d, want %d", v, got, want)
			}
			distance = exact
		} else if got != int64(math.Floor(x+0.5)) {
			t.Errorf("kinetic of %d m°C is %d, of %v", v, got, x)
		}
		// The terms of the exponent are wrong by 2^-53 of themselves, times 10,000:
		// 1e-14 of the value. Every value is far more than that from a half.
		if slack := distance / (1e-14 * x); slack < tightest {
			tightest = slack
		}
		if distance < nearest {
			nearest, at = distance, v
		}
	}
	t.Logf("nearest to a half: %.3g at %d m°C; %.0f times the error of doubles", nearest, at, tightest)
	if tightest < 37 {
		t.Errorf("a value is only %.1f times the error of doubles from a half", tightest)
	}
	if nearest < margin {
		t.Errorf("%d m°C is %g from a half, want at least %g", at, nearest, margin)
	}
	for _, v := range []int64{-100_001, 125_001, math.MinInt64, math.MaxInt64} {
		if _, err := trace.Kinetic(v); err == nil {
			t.Errorf("kinetic of %d m°C", v)
		}
	}
}

// bigKinetic is the nearest integer to 1000·exp(10000·(1/278.15 − 1/T)) and the
// distance from the nearest half, by the series of exp with 200 bits.
func bigKinetic(v int64) (int64, float64) {
	num := func(r *big.Rat) *big.Float { return new(big.Float).SetPrec(200).SetRat(r) }
	// 10000·(1/278.15 − 1/(273.15 + v/1000)) as a fraction
	e := new(big.Rat).Sub(big.NewRat(100, 27_815), big.NewRat(1000, 273_150+v))
	x := num(e.Mul(e, big.NewRat(10_000, 1<<8))) // exp(x) = exp(x/256)^256
	sum, term := num(big.NewRat(1, 1)), num(big.NewRat(1, 1))
	for i := int64(1); i < 60; i++ {
		term.Mul(term, x).Quo(term, num(big.NewRat(i, 1)))
		sum.Add(sum, term)
	}
	for range 8 {
		sum.Mul(sum, sum)
	}
	sum.Mul(sum, num(big.NewRat(1000, 1)))
	floor, _ := sum.Int(nil)
	fraction, _ := new(big.Float).Sub(sum, new(big.Float).SetInt(floor)).Float64()
	rounded := floor.Int64()
	if fraction >= 0.5 {
		rounded++
	}
	return rounded, math.Abs(fraction - 0.5)
}

// TestMeanKinetic: a constant temperature is its own mean kinetic temperature,
// and a warm hour weighs more than a cold one.
func TestMeanKinetic(t *testing.T) {
	spec := trace.Spec{Unit: "Cel", Nominal: 60_000}
	for _, v := range []int64{-20_000, 5000, 25_000} {
		d, err := spec.Leaf(-1, []int64{1000, 61_000}, []int64{v, v})
		if err != nil {
			t.Fatal(err)
		}
		// Weights are integers: half a unit of them is 0.004 K at 5 °C, 0.12 K at −20 °C.
		k, err := trace.Kinetic(v)
		if err != nil {
			t.Fatal(err)
		}
		kelvin := 273.15 + float64(v)/1000
		resolution := 0.5 / float64(k) * kelvin * kelvin / 10_000
		if got := d.MeanKinetic(); math.Abs(got-float64(v)/1000) > 1.1*resolution {
			t.Errorf("mean kinetic temperature of constant %d m°C is %.3f °C", v, got)
		}
	}
	d, err := spec.Leaf(0, []int64{60_000, 120_000}, []int64{5000, 25_000})
	if err != nil {
		t.Fatal(err)
	}
	// ln((e^-ΔH/R/278.15 + e^-ΔH/R/298.15)/2), by hand: 292.46 K
	want := -10_000/math.Log((math.Exp(-10_000/278.15)+math.Exp(-10_000/298.15))/2) - 273.15
	if got := d.MeanKinetic(); math.Abs(got-want) > 0.005 || got <= d.Mean()/1000 {
		t.Errorf("mean kinetic temperature %.3f °C, want %.3f", got, want)
	}
	if !math.IsNaN((trace.Digest{Covered: 5}).MeanKinetic()) {
		t.Error("a trace without kinetic sums has a mean kinetic temperature")
	}
}

// TestDigestRefuses alters a possible digest in one way each.
func TestDigestRefuses(t *testing.T) {
	spec := trace.Spec{Unit: "Cel", Nominal: 1000, Limits: []trace.Limit{
		{Comparison: trace.AtOrAbove, Value: 8000}, {Comparison: trace.AtOrBelow, Value: 2000},
	}}
	good := func() trace.Digest { // 5 °C, 9 °C, 5 °C
		d, err := spec.Leaf(10_000, []int64{11_000, 12_000, 13_000}, []int64{5000, 9000, 5000})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if err := spec.CheckDigest(good()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		alter      func(*trace.Digest)
	}{
		{"empty span", "empty or out of bounds", func(d *trace.Digest) { d.T0 = d.T1 }},
		{"span backwards", "empty or out of bounds", func(d *trace.Digest) { d.T0 = d.T1 + 1 }},
		{"before the epoch", "empty or out of bounds", func(d *trace.Digest) { d.T0 = -1 }},
		{"over 48 bits", "empty or out of bounds", func(d *trace.Digest) { d.T1 = 1 << 48 }},
		{"nothing covered", "0 ms covered", func(d *trace.Digest) { d.Covered = 0 }},
		{"more covered than the span", "ms covered of a span", func(d *trace.Digest) { d.Covered = d.Span() + 1 }},
		{"minimum over maximum", "impossible", func(d *trace.Digest) { d.Min = d.Max + 1 }},
		{"minimum under 32 bits", "impossible", func(d *trace.Digest) { d.Min = -1<<31 - 1 }},
		{"maximum over 32 bits", "impossible", func(d *trace.Digest) { d.Max = 1 << 31 }},
		{"sum too small", "sum 14999999 is impossible", func(d *trace.Digest) { d.Sum = 3000*5000 - 1 }},
		{"sum too large", "sum 27000001 is impossible", func(d *trace.Digest) { d.Sum = 3000*9000 + 1 }},
		{"sum minimal", "is impossible", func(d *trace.Digest) { d.Sum = math.MinInt64 }},
		{"kinetic negative", "negative", func(d *trace.Digest) { d.Kin = -1 }},
		{"kinetic too small", "kinetic sum", func(d *trace.Digest) { d.Kin = 3000*1000 - 1 }},
		{"kinetic too large", "kinetic sum", func(d *trace.Digest) { d.Kin = math.MaxInt64 }},
		{"a limit missing", "limits", func(d *trace.Digest) { d.Limits = d.Limits[:1] }},
		{"a limit too many", "limits", func(d *trace.Digest) { d.Limits = append(d.Limits, trace.Excess{}) }},
		{"total negative", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Total = -1 }},
		{"total over covered", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Total = d.Covered + 1 }},
		{"prefix negative", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Prefix = -1 }},
		{"prefix over longest", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Prefix = d.Limits[0].Longest + 1 }},
		{"suffix over longest", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Suffix = d.Limits[0].Longest + 1 }},
		{"longest over the span", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Longest = d.Span() + 1 }},
		{"total without a run", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Longest = 0 }},
		{"a run without total", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Total = 0 }},
		{"whole by prefix only", "impossible in a span", func(d *trace.Digest) {
			d.Limits[0].Prefix, d.Limits[0].Longest = d.Span(), d.Span()
		}},
		{"whole by longest only", "impossible in a span", func(d *trace.Digest) { d.Limits[0].Longest = d.Span() }},
		{"an excursion denied", "time beyond limit 8000", func(d *trace.Digest) { d.Limits[0] = trace.Excess{} }},
		{"an excursion invented", "time beyond limit 2000", func(d *trace.Digest) { d.Limits[1] = trace.Excess{Total: 1, Longest: 1} }},
		{"maximum lowered below a limit", "time beyond limit 8000", func(d *trace.Digest) {
			d.Max, d.Sum = 7999, 3000*5000
			d.Kin = 3000 * 1000
		}},
		{"maximum out of the kinetic range", "not within", func(d *trace.Digest) { d.Max = 125_001 }},
	} {
		d := good()
		c.alter(&d)
		if err := spec.CheckDigest(d); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
