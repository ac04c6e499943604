package trace

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"trailmark/internal/dcbor"
)

// Bounds of the wire format, see docs/wire-format.md section 1.
const (
	MaxTime    = 1<<48 - 1 // ms
	MaxValue   = 1<<31 - 1 // thousandths of the unit
	MinValue   = -1 << 31
	MaxLimits  = 8
	MaxNominal = 86_400_000 // ms
)

// Comparison says on which side of a limit's value a reading is beyond it; the
// value itself counts as beyond.
type Comparison uint8

// Comparisons of a limit.
const (
	AtOrBelow Comparison = 1
	AtOrAbove Comparison = 2
)

// A Limit is one threshold of a channel, in thousandths of the channel's unit.
type Limit struct {
	_          struct{}   `cbor:",toarray"`
	Comparison Comparison `json:"comparison"`
	Value      int64      `json:"value"`
}

// Beyond reports whether v is at or past the limit.
func (l Limit) Beyond(v int64) bool {
	if l.Comparison == AtOrBelow {
		return v <= l.Value
	}
	return v >= l.Value
}

// A Spec is what the digests of a trace depend on: the unit, the limits in the
// order of the plan's channel entry, and the nominal interval between readings
// in milliseconds.
type Spec struct {
	Unit    string
	Limits  []Limit
	Nominal int64
}

// Check reports whether the spec is within the bounds of the wire format.
func (s Spec) Check() error {
	if s.Nominal < 1 || s.Nominal > MaxNominal {
		return fmt.Errorf("nominal interval of %d ms is not within 1..%d", s.Nominal, MaxNominal)
	}
	if len(s.Limits) > MaxLimits {
		return fmt.Errorf("%d limits, at most %d", len(s.Limits), MaxLimits)
	}
	for _, l := range s.Limits {
		if l.Comparison != AtOrBelow && l.Comparison != AtOrAbove {
			return fmt.Errorf("comparison %d is neither 1 nor 2", l.Comparison)
		}
		if l.Value < MinValue || l.Value > MaxValue {
			return fmt.Errorf("limit %d is not within 32 bits", l.Value)
		}
	}
	return nil
}

// Excess is the time beyond one limit within a span, in milliseconds.
type Excess struct {
	_       struct{} `cbor:",toarray"`
	Total   int64    // measured time beyond
	Prefix  int64    // length of the run that touches the span's start
	Suffix  int64    // length of the run that touches its end
	Longest int64    // length of the longest run
}

// A Digest sums up the readings of a span of a trace.
type Digest struct {
	_       struct{} `cbor:",toarray"`
	T0, T1  int64    // ms; where the first reading's cover begins, the last reading's time
	Covered int64    // ms of [T0, T1) that readings cover
	Min     int64    // thousandths of the unit
	Max     int64
	Sum     int64 // Σ value·ms
	Kin     int64 // Σ ms·Kinetic(value), for Cel
	Limits  []Excess
}

// Span is T1 − T0 in milliseconds.
func (d Digest) Span() int64 { return d.T1 - d.T0 }

// Uncovered is the time within the span that no reading covers, in ms.
func (d Digest) Uncovered() int64 { return d.Span() - d.Covered }

// append writes the digest's CBOR without reflection: hashing a node encodes two.
func (d *Digest) append(dst []byte) []byte {
	dst = dcbor.AppendArray(dst, 8)
	for _, n := range [...]int64{d.T0, d.T1, d.Covered, d.Min, d.Max, d.Sum, d.Kin} {
		dst = dcbor.AppendInt(dst, n)
	}
	dst = dcbor.AppendArray(dst, len(d.Limits))
	for _, l := range d.Limits {
		dst = dcbor.AppendArray(dst, 4)
		for _, n := range [...]int64{l.Total, l.Prefix, l.Suffix, l.Longest} {
			dst = dcbor.AppendInt(dst, n)
		}
	}
	return dst
}

func (d *Digest) equal(o *Digest) bool {
	if d.T0 != o.T0 || d.T1 != o.T1 || d.Covered != o.Covered || d.Min != o.Min || d.Max != o.Max ||
		d.Sum != o.Sum || d.Kin != o.Kin || len(d.Limits) != len(o.Limits) {
		return false
	}
	for i := range d.Limits {
		if d.Limits[i] != o.Limits[i] {
			return false
		}
	}
	return true
}

// ErrOverflow reports an aggregate outside its integer bound. Nothing wraps.
var ErrOverflow = errors.New("aggregate over its integer bound")

// Leaf is the digest of one block: the readings (times[i], values[i]) in ms and
// thousandths, after a reading at prev (prev < 0: none, the first of a trace).
func (s Spec) Leaf(prev int64, times, values []int64) (Digest, error) {
	if len(times) == 0 || len(times) != len(values) {
		return Digest{}, fmt.Errorf("%d times and %d values make no block", len(times), len(values))
	}
	if err := s.Check(); err != nil {
		return Digest{}, err
	}
	if prev < 0 {
		prev = times[0] - 1 // the first reading of a trace covers one millisecond
	}
	d := Digest{Min: values[0], Max: values[0], T1: times[len(times)-1], Limits: make([]Excess, len(s.Limits))}
	runs := make([]int64, len(s.Limits)) // where the present run began, −1: none
	for i := range runs {
		runs[i] = -1
	}
	for i, t := range times {
		v := values[i]
		if t <= prev || t > MaxTime || prev < 0 {
			return Digest{}, fmt.Errorf("time %d ms does not follow %d within 48 bits", t, prev)
		}
		if v < MinValue || v > MaxValue {
			return Digest{}, fmt.Errorf("value %d is not within 32 bits", v)
		}
		from := max(prev, t-2*s.Nominal)
		if i == 0 {
			d.T0 = from
		}
		cover := t - from
		d.Covered += cover
		d.Min, d.Max = min(d.Min, v), max(d.Max, v)
		k := int64(0)
		if s.Unit == "Cel" {
			var err error
			if k, err = Kinetic(v); err != nil {
				return Digest{}, err
			}
		}
		var ok1, ok2 bool
		d.Sum, ok1 = mulAdd(d.Sum, v, cover)
		d.Kin, ok2 = mulAdd(d.Kin, k, cover)
		if !ok1 || !ok2 {
			return Digest{}, ErrOverflow
		}
		for j, l := range s.Limits {
			e := &d.Limits[j]
			if !l.Beyond(v) {
				runs[j] = -1
				continue
			}
			e.Total += cover
			if runs[j] < 0 {
				runs[j] = from
			}
			run := t - runs[j]
			e.Longest = max(e.Longest, run)
			if runs[j] == d.T0 {
				e.Prefix = run
			}
			if i == len(times)-1 {
				e.Suffix = run
			}
		}
		prev = t
	}
	return d, nil
}

// Merge joins the digests of two adjacent spans of one trace; r must not begin
// before l ends. It is associative.
func Merge(l, r Digest) (Digest, error) {
	if r.T0 < l.T1 {
		return Digest{}, fmt.Errorf("span beginning at %d ms overlaps the one ending at %d ms", r.T0, l.T1)
	}
	if len(l.Limits) != len(r.Limits) {
		return Digest{}, fmt.Errorf("digests of %d and %d limits are not of one trace", len(l.Limits), len(r.Limits))
	}
	sum, ok1 := add(l.Sum, r.Sum)
	kin, ok2 := add(l.Kin, r.Kin)
	if !ok1 || !ok2 {
		return Digest{}, ErrOverflow
	}
	d := Digest{T0: l.T0, T1: r.T1, Covered: l.Covered + r.Covered, Min: min(l.Min, r.Min), Max: max(l.Max, r.Max),
		Sum: sum, Kin: kin, Limits: make([]Excess, len(l.Limits))}
	gap := r.T0 - l.T1
	for i := range d.Limits {
		a, b := l.Limits[i], r.Limits[i]
		e := Excess{Total: a.Total + b.Total, Prefix: a.Prefix, Suffix: b.Suffix, Longest: max(a.Longest, b.Longest)}
		if a.Suffix > 0 && b.Prefix > 0 {
			// Unmeasured time between two readings beyond counts into the run.
			joined := a.Suffix + gap + b.Prefix
			e.Longest = max(e.Longest, joined)
			if a.Prefix == l.Span() {
				e.Prefix = joined
			}
			if b.Suffix == r.Span() {
				e.Suffix = joined
			}
		}
		d.Limits[i] = e
	}
	return d, nil
}

// CheckDigest refuses a digest that no readings could have.
func (s Spec) CheckDigest(d Digest) error {
	if len(d.Limits) != len(s.Limits) {
		return fmt.Errorf("digest has %d limits, the plan's channel entry %d", len(d.Limits), len(s.Limits))
	}
	if err := d.check(); err != nil {
		return err
	}
	lo, hi := int64(0), int64(0)
	if s.Unit == "Cel" {
		var err1, err2 error
		lo, err1 = Kinetic(d.Min)
		hi, err2 = Kinetic(d.Max)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
	}
	if !within(d.Kin, lo, hi, d.Covered) {
		return fmt.Errorf("kinetic sum %d is impossible between %d and %d over %d ms", d.Kin, lo, hi, d.Covered)
	}
	for i, l := range s.Limits {
		extreme := d.Max
		if l.Comparison == AtOrBelow {
			extreme = d.Min
		}
		if l.Beyond(extreme) != (d.Limits[i].Total > 0) {
			return fmt.Errorf("time beyond limit %d is %d ms, but the extreme is %d", l.Value, d.Limits[i].Total, extreme)
		}
	}
	return nil
}

// check refuses what no unit or limit could make right.
func (d *Digest) check() error {
	if d.T0 < 0 || d.T1 > MaxTime || d.T0 >= d.T1 {
		return fmt.Errorf("span [%d, %d) ms is empty or out of bounds", d.T0, d.T1)
	}
	if d.Covered < 1 || d.Covered > d.Span() {
		return fmt.Errorf("%d ms covered of a span of %d", d.Covered, d.Span())
	}
	if d.Min > d.Max || d.Min < MinValue || d.Max > MaxValue {
		return fmt.Errorf("minimum %d and maximum %d are impossible", d.Min, d.Max)
	}
	if !within(d.Sum, d.Min, d.Max, d.Covered) || d.Sum == math.MinInt64 {
		return fmt.Errorf("sum %d is impossible between %d and %d over %d ms", d.Sum, d.Min, d.Max, d.Covered)
	}
	if d.Kin < 0 {
		return fmt.Errorf("kinetic sum %d is negative", d.Kin)
	}
	if len(d.Limits) > MaxLimits {
		return fmt.Errorf("%d limits, at most %d", len(d.Limits), MaxLimits)
	}
	for _, e := range d.Limits {
		whole := e.Prefix == d.Span()
		if e.Total < 0 || e.Prefix < 0 || e.Suffix < 0 || e.Longest < 0 ||
			e.Total > d.Covered || e.Prefix > e.Longest || e.Suffix > e.Longest || e.Longest > d.Span() ||
			(e.Total == 0) != (e.Longest == 0) ||
			whole != (e.Suffix == d.Span()) || whole != (e.Longest == d.Span()) {
			return fmt.Errorf("time beyond a limit %+v is impossible in a span of %d ms, %d covered", e, d.Span(), d.Covered)
		}
	}
	return nil
}

// Kinetic is round(1000·exp((ΔH/R)·(1/278.15 − 1/T))) for a temperature in m°C,
// ΔH 83.144 kJ/mol and R 8.3144 J/(mol·K): the weight of one millisecond at it in
// the mean kinetic temperature. Outside −100…125 °C it is an error.
func Kinetic(milliCel int64) (int64, error) {
	if milliCel < -100_000 || milliCel > 125_000 {
		return 0, fmt.Errorf("temperature of %d m°C is not within -100000..125000", milliCel)
	}
	return int64(math.Round(kinetic(milliCel))), nil
}

const (
	activation = 10_000.0 // ΔH/R in kelvin
	reference  = 278.15   // kelvin
)

func kinetic(milliCel int64) float64 {
	return 1000 * math.Exp(activation*(1/reference-1/(273.15+float64(milliCel)/1000)))
}

// MeanKinetic is the mean kinetic temperature in °C of a digest of a `Cel`
// trace (ΔH 83.144 kJ/mol). It is a figure to show, never a verdict alone.
func (d Digest) MeanKinetic() float64 {
	if d.Covered == 0 || d.Kin == 0 {
		return math.NaN() // below what the integer weights resolve
	}
	mean := float64(d.Kin) / 1000 / float64(d.Covered)
	return 1/(1/reference-math.Log(mean)/activation) - 273.15
}

// Mean is the time-weighted mean in thousandths of the unit.
func (d Digest) Mean() float64 { return float64(d.Sum) / float64(d.Covered) }

func add(a, b int64) (int64, bool) {
	c := a + b
	return c, (c > a) == (b > 0) && c != math.MinInt64
}

// mulAdd is sum + v·n for n >= 0 without wrapping.
func mulAdd(sum, v, n int64) (int64, bool) {
	hi, lo := bits.Mul64(magnitude(v), uint64(n))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	p := int64(lo)
	if v < 0 {
		p = -p
	}
	return add(sum, p)
}

// within reports lo·n <= x <= hi·n in 128 bits, for n >= 0.
func within(x, lo, hi, n int64) bool {
	return !lessProduct(x, lo, n) && !lessProduct(-x, -hi, n)
}

// lessProduct reports x < v·n.
func lessProduct(x, v, n int64) bool {
	hi, lo := bits.Mul64(magnitude(v), uint64(n))
	big := hi != 0 || lo > math.MaxInt64
	if v < 0 {
		return !big && x < -int64(lo) // a product under −2^63 is below every x
	}
	return big || x < int64(lo)
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return uint64(-v)
	}
	return uint64(v)
}
