package alarm

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"trailmark/statement"
	"trailmark/trace"
)

// A Kind says what a rule looks at.
type Kind string

// Kinds of rules.
const (
	Single       Kind = "single-event" // one run beyond a limit; within it, the count starts anew
	Cumulative   Kind = "cumulative"   // all time beyond a limit, which is never forgotten
	RateOfRise   Kind = "rate-of-rise"
	NoData       Kind = "no-data"     // a planned channel without readings, by the device's clock
	ProbeFault   Kind = "probe-fault" // faults and losses with no reading after them
	DoorOpen     Kind = "door-open"
	MainsLost    Kind = "mains-lost"
	Calibration  Kind = "calibration-due"
	ClockDoubt   Kind = "clock-doubt"
	Silent       Kind = "device-silent" // by the gateway's clock
	Disagreement Kind = "disagreement"  // with the next channel of the zone's plan that measures the same
	Fork         Kind = "fork"          // two statements for one seq: a clone, or a key that is out
	Tamper       Kind = "tamper"        // the device's own word of it

	// Of goods, by the names that package diversion finds them under; the object
	// stands for the device.
	AnotherTag Kind = "another-tag"
	TooFar     Kind = "too-far-apart"
	Unexpected Kind = "scanned-elsewhere"
)

// A Duration is written as Go writes it, "1h30m".
type Duration int64 // ms

// MarshalText writes the one spelling that a hash is made of.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte((time.Duration(d) * time.Millisecond).String()), nil
}

// UnmarshalText reads any spelling of a whole number of milliseconds.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 || v%time.Millisecond != 0 || v > 10*366*24*time.Hour {
		return fmt.Errorf("%q is no time span like 90s, 10m or 20h", b)
	}
	*d = Duration(v.Milliseconds())
	return nil
}

// A Milli is a value in thousandths of its unit, written as a decimal number.
type Milli int64

// MarshalJSON writes the shortest decimal number.
func (m Milli) MarshalJSON() ([]byte, error) {
	sign, v := "", int64(m)
	if v < 0 {
		sign, v = "-", -v
	}
	s := fmt.Sprintf("%s%d.%03d", sign, v/1000, v%1000)
	return []byte(strings.TrimSuffix(strings.TrimRight(s, "0"), ".")), nil
}

var decimal = regexp.MustCompile(`^(-?)([0-9]{1,7})(?:\.([0-9]{1,3}))?$`)

// UnmarshalJSON reads a decimal number of at most three places, exactly.
func (m *Milli) UnmarshalJSON(b []byte) error {
	p := decimal.FindStringSubmatch(string(b))
	if p == nil {
		return fmt.Errorf("%s is no number of at most three decimal places", b)
	}
	v, err := strconv.ParseInt(p[2]+(p[3] + "000")[:3], 10, 64)
	if err != nil {
		return err
	}
	if p[1] == "-" {
		v = -v
	}
	if v < trace.MinValue || v > trace.MaxValue {
		return fmt.Errorf("%s is outside 32 bits of thousandths", b)
	}
	*m = Milli(v)
	return nil
}

// Names are a rule's words.
type Names struct {
	EN string `json:"en"`
	ZH string `json:"zh-CN"`
}

// A Rule raises alarms of one kind. What does not go with its kind is refused.
type Rule struct {
	ID       string   `json:"id"`
	Kind     Kind     `json:"kind"`
	Name     Names    `json:"name"`
	Severity string   `json:"severity"`           // alarm or warning
	Notify   string   `json:"notify,omitempty"`   // id of an escalation; "": nobody is told
	Zones    []string `json:"zones,omitempty"`    // only these; none: every
	Channels []string `json:"channels,omitempty"` // only these; none: every
	// Of single-event and cumulative rules: the plan's own limits, or one of the
	// rule's for channels of Unit. The value itself counts as beyond.
	PlanLimits bool   `json:"plan_limits,omitempty"`
	Unit       string `json:"unit,omitempty"` // SenML
	AtOrAbove  *Milli `json:"at_or_above,omitempty"`
	AtOrBelow  *Milli `json:"at_or_below,omitempty"`
	// For is how long it must last, or add up to; 0: at once.
	For Duration `json:"for"`
	// Clear is how long it must be over before the alarm ends; 0: at once.
	Clear Duration `json:"clear,omitempty"`
	// EachDay makes a cumulative count start anew at midnight, UTCOffset east of
	// Greenwich.
	EachDay   bool     `json:"each_day,omitempty"`
	UTCOffset Duration `json:"utc_offset,omitempty"`
	Rise      *Milli   `json:"rise,omitempty"`   // of rate-of-rise, within Within
	Within    Duration `json:"within,omitempty"` // at most a day
	Differ    *Milli   `json:"differ,omitempty"` // of disagreement
	// Of clock-doubt: the least quality, "restored", "rtc" or "synchronised", and
	// the largest error; 0: any.
	Quality  string   `json:"quality,omitempty"`
	MaxError Duration `json:"max_error,omitempty"`
	// Of calibration-due.
	Ahead        Duration      `json:"ahead,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`

	hash   statement.Hash // of text
	text   []byte         // canonical
	limits []trace.Limit  // of the rule's own
}

// A Certificate is a calibration record, by the hash that plans name, and when the
// next calibration is due.
type Certificate struct {
	Record string    `json:"record"` // 64 hex digits
	Due    time.Time `json:"due"`
}

// An Escalation says who is told of an alarm, and who next while nobody has
// acknowledged it.
type Escalation struct {
	ID    string `json:"id"`
	Steps []Tell `json:"steps"`
}

// Tell is one step: targets to be told after a time without acknowledgement.
type Tell struct {
	After   Duration `json:"after"`
	Targets []string `json:"targets"`
}

// Rules are all that is judged by.
type Rules struct {
	Rules       []*Rule      `json:"rules"`
	Escalations []Escalation `json:"escalations,omitempty"`

	at int64 // when they were put in force, ms
}

// Bounds of a set of rules.
const (
	MaxRulesText = 256 << 10
	maxRules     = 64
	maxList      = 256
)

var identifier = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

//go:embed presets
var presets embed.FS

// Presets are the names of the built-in sets.
func Presets() []string {
	entries, err := presets.ReadDir("presets")
	if err != nil {
		panic(err) // embedded
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".json"))
	}
	return out
}

// Preset is a built-in set.
func Preset(name string) ([]byte, error) {
	if !identifier.MatchString(name) {
		return nil, fmt.Errorf("no preset %q\nhint: there are %s", name, strings.Join(Presets(), ", "))
	}
	text, err := presets.ReadFile("presets/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("no preset %q\nhint: there are %s", name, strings.Join(Presets(), ", "))
	}
	return text, nil
}

// Default is the set that judges until another is set.
func Default() *Rules {
	text, err := Preset("default")
	if err != nil {
		panic(err) // embedded
	}
	r, err := ParseRules(text)
	if err != nil {
		panic(err) // tested
	}
	return r
}

// ParseRules reads a set of rules and refuses what it does not know.
func ParseRules(text []byte) (*Rules, error) {
	if len(text) > MaxRulesText {
		return nil, fmt.Errorf("rules of %d bytes, at most %d", len(text), MaxRulesText)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var r Rules
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("rules: something follows the closing brace")
	}
	return &r, r.check()
}

func (r *Rules) check() error {
	if len(r.Rules) > maxRules || len(r.Escalations) > maxRules {
		return fmt.Errorf("%d rules and %d escalations, at most %d of each", len(r.Rules), len(r.Escalations), maxRules)
	}
	known := map[string]bool{"": true}
	for _, e := range r.Escalations {
		if !identifier.MatchString(e.ID) || known[e.ID] || len(e.Steps) < 1 || len(e.Steps) > 16 {
			return fmt.Errorf("escalation %q: twice, no identifier, or %d steps, want 1 to 16", e.ID, len(e.Steps))
		}
		known[e.ID] = true
		for i, s := range e.Steps {
			if len(s.Targets) < 1 || len(s.Targets) > 32 || i > 0 && s.After <= e.Steps[i-1].After {
				return fmt.Errorf("escalation %q: step %d has %d targets, want 1 to 32, or is not after the one before", e.ID, i+1, len(s.Targets))
			}
			for _, t := range s.Targets {
				if !identifier.MatchString(t) {
					return fmt.Errorf("escalation %q: target %q is no identifier", e.ID, t)
				}
			}
		}
	}
	ids := map[string]bool{}
	for i, x := range r.Rules {
		if x == nil || !identifier.MatchString(x.ID) || ids[x.ID] {
			return fmt.Errorf("rule %d: its id is given twice or is no identifier of lower case letters, digits, dots and dashes", i+1)
		}
		ids[x.ID] = true
		if !known[x.Notify] {
			return fmt.Errorf("rule %s: no escalation %q", x.ID, x.Notify)
		}
		if err := x.check(); err != nil {
			return fmt.Errorf("rule %s: %w", x.ID, err)
		}
		var err error
		if x.text, err = json.Marshal(x); err != nil {
			return err
		}
		x.hash = sha256.Sum256(x.text)
	}
	return nil
}

func (r *Rule) check() error {
	if r.Severity != "alarm" && r.Severity != "warning" {
		return fmt.Errorf("severity %q, want alarm or warning", r.Severity)
	}
	if r.Name.ZH == "" || r.Name.EN == "" || len(r.Name.ZH) > 256 || len(r.Name.EN) > 256 {
		return errors.New("want a name in zh-CN and en, at most 256 bytes each")
	}
	if len(r.Zones) > maxList || len(r.Channels) > maxList || len(r.Certificates) > 4096 {
		return fmt.Errorf("more than %d zones or channels, or 4096 certificates", maxList)
	}
	limited, r2 := false, *r
	switch r.Kind {
	case Single, Cumulative:
		limited = true
		if r.PlanLimits == (r.Unit != "") || (r.Unit == "") != (r.AtOrAbove == nil && r.AtOrBelow == nil) || r.AtOrAbove != nil && r.AtOrBelow != nil {
			return errors.New("want plan_limits, or unit with one of at_or_above and at_or_below")
		}
		if r.AtOrAbove != nil {
			r.limits = []trace.Limit{{Comparison: trace.AtOrAbove, Value: int64(*r.AtOrAbove)}}
		} else if r.AtOrBelow != nil {
			r.limits = []trace.Limit{{Comparison: trace.AtOrBelow, Value: int64(*r.AtOrBelow)}}
		}
		if r.Kind == Cumulative && r.Clear != 0 || r.EachDay && r.Kind != Cumulative || r.UTCOffset != 0 && !r.EachDay || r.UTCOffset >= day {
			return errors.New("clear goes with single-event rules, each_day and a utc_offset below a day with cumulative ones")
		}
		r2.PlanLimits, r2.AtOrAbove, r2.AtOrBelow, r2.EachDay, r2.UTCOffset = false, nil, nil, false, 0
	case RateOfRise:
		if r.Unit == "" || r.Rise == nil || *r.Rise <= 0 || r.Within <= 0 || r.Within > day || r.For != 0 {
			return errors.New("want a unit, a rise above 0 and a within of at most a day, and no for")
		}
		r2.Rise, r2.Within = nil, 0
	case NoData, Silent:
		if r.For < 1000 {
			return errors.New("want a for of a second or more")
		}
	case Disagreement:
		if r.Unit == "" || r.Differ == nil || *r.Differ <= 0 {
			return errors.New("want a unit and a differ above 0")
		}
		r2.Differ = nil
	case ClockDoubt:
		if _, ok := qualities[r.Quality]; !ok {
			return fmt.Errorf("quality %q, want restored, rtc or synchronised", r.Quality)
		}
		r2.Quality, r2.MaxError = "", 0
	case Calibration:
		for _, c := range r.Certificates {
			if len(c.Record) != 64 || strings.Trim(c.Record, "0123456789abcdef") != "" || c.Due.UnixMilli() <= 0 {
				return fmt.Errorf("certificate %q: want the 64 hex digits that a plan names, and a due time", c.Record)
			}
		}
		r2.Ahead, r2.Certificates = 0, nil
	case ProbeFault, DoorOpen, MainsLost:
	case Fork, Tamper, AnotherTag, TooFar, Unexpected:
		if r.For != 0 {
			return errors.New("for does not go with this kind")
		}
	default:
		return fmt.Errorf("kind %q is none", r.Kind)
	}
	if limited || r.Kind == RateOfRise || r.Kind == Disagreement {
		r2.Unit, r2.Clear = "", 0
	}
	if r2.PlanLimits || r2.Unit != "" || r2.AtOrAbove != nil || r2.AtOrBelow != nil || r2.Clear != 0 || r2.EachDay || r2.UTCOffset != 0 || r2.Rise != nil ||
		r2.Within != 0 || r2.Differ != nil || r2.Quality != "" || r2.MaxError != 0 || r2.Ahead != 0 || len(r2.Certificates) > 0 {
		return fmt.Errorf("something is set that does not go with %s", r.Kind)
	}
	return nil
}

const day = 24 * 3600 * 1000

// qualities are the clock's qualities that a rule may ask for.
var qualities = map[string]statement.Quality{"restored": statement.ClockRestored, "rtc": statement.ClockRTC, "synchronised": statement.ClockSynchronised}

// Hash is SHA-256 of the rule's canonical text.
func (r *Rule) Hash() statement.Hash { return r.hash }

// Text is the canonical text: the rule as JSON in the order of this package's
// fields, without white space, spans of time and numbers in their one spelling.
func (r *Rule) Text() []byte { return r.text }

// covers reports whether the rule is about a channel of a zone.
func (r *Rule) covers(zone, channel string) bool {
	return (len(r.Zones) == 0 || slices.Contains(r.Zones, zone)) && (len(r.Channels) == 0 || slices.Contains(r.Channels, channel))
}

// coversDevice reports whether the rule is about a device that serves zones.
func (r *Rule) coversDevice(zones []string) bool {
	return len(r.Zones) == 0 || slices.ContainsFunc(zones, func(z string) bool { return slices.Contains(r.Zones, z) })
}

func (r *Rules) rule(id string) *Rule {
	for _, x := range r.Rules {
		if x.ID == id {
			return x
		}
	}
	return nil
}

func (r *Rules) escalation(id string) *Escalation {
	for i := range r.Escalations {
		if r.Escalations[i].ID == id {
			return &r.Escalations[i]
		}
	}
	return nil
}
