package product

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"trailmark/gateway/internal/enrol"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// A Draft is a product before it is signed, as people write it.
type Draft struct {
	GTIN    string // 14 digits
	Name    statement.Texts
	Band    string        // of temperature, in °C: 2..8
	Allowed time.Duration // cumulative time beyond the band from which on the rule is broken
	Rule    string        // a named rule instead of band and time
}

// A FieldError says what is wrong with one field of a draft.
type FieldError struct {
	Field string // gtin, name, band, allowed, rule
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *FieldError) Unwrap() error { return e.Err }

func field(name, format string, args ...any) error {
	return &FieldError{name, fmt.Errorf(format, args...)}
}

// PadGTIN is a GTIN of 8, 12, 13 or 14 digits as 14 digits.
func PadGTIN(s string) (string, error) {
	if err := epc.CheckGTIN(s); err != nil {
		return "", &FieldError{"gtin", err}
	}
	return strings.Repeat("0", 14-len(s)) + s, nil
}

// Product is the draft as a statement's payload.
func (d Draft) Product(brand statement.Texts) (p statement.Product, err error) {
	p = statement.Product{Version: 1, GTIN: d.GTIN, Name: d.Name, Brand: brand}
	if len(d.GTIN) != 14 {
		return p, field("gtin", "%q has %d digits, want 14", d.GTIN, len(d.GTIN))
	}
	if err := epc.CheckGTIN(d.GTIN); err != nil {
		return p, &FieldError{"gtin", err}
	}
	if len(d.Name) == 0 {
		return p, field("name", "a product has a name in at least one language")
	}
	for _, t := range d.Name {
		if len(t.Words) == 0 || len(t.Words) > statement.MaxText {
			return p, field("name", "%d bytes in language %s, want 1 to %d", len(t.Words), t.Lang, statement.MaxText)
		}
	}
	if p.Rule, err = d.rule(); err != nil {
		return p, err
	}
	return p, p.Check()
}

// rule is the named rule, or the band's.
func (d Draft) rule() ([]statement.Criterion, error) {
	switch {
	case d.Rule != "" && (d.Band != "" || d.Allowed != 0):
		return nil, field("rule", "%s is a whole rule; leave band and allowed time empty", d.Rule)
	case d.Rule != "":
		rule, ok := passport.Rule(d.Rule)
		if !ok {
			return nil, field("rule", "no rule is named %q\nhint: %s", d.Rule, strings.Join(passport.Rules(), " or "))
		}
		return rule, nil
	case d.Allowed < 0 || d.Allowed > 10*365*24*time.Hour:
		return nil, field("allowed", "%v is out of bounds, want 0 to ten years", d.Allowed)
	}
	limits, err := enrol.ParseBand(d.Band)
	if err != nil {
		return nil, &FieldError{"band", err}
	}
	var rule []statement.Criterion
	for _, l := range limits {
		rule = append(rule, statement.Criterion{Unit: "Cel", Limit: l, Kind: statement.Cumulative, For: d.Allowed.Milliseconds()})
	}
	return rule, nil
}

// written is a rule as a draft writes it; false if a draft cannot.
func written(rule []statement.Criterion) (band string, allowed time.Duration, name string, ok bool) {
	for _, n := range passport.Rules() {
		if r, _ := passport.Rule(n); slices.Equal(r, rule) {
			return "", 0, n, true
		}
	}
	if len(rule) != 2 || rule[0].For != rule[1].For || rule[0].Limit.Comparison != trace.AtOrBelow || rule[1].Limit.Comparison != trace.AtOrAbove {
		return "", 0, "", false
	}
	for _, c := range rule {
		if c.Unit != "Cel" || c.Kind != statement.Cumulative {
			return "", 0, "", false
		}
	}
	milli := func(v int64) string { return strconv.FormatFloat(float64(v)/1000, 'f', -1, 64) }
	band = milli(rule[0].Limit.Value+1) + ".." + milli(rule[1].Limit.Value-1)
	allowed = time.Duration(rule[0].For) * time.Millisecond
	again, err := Draft{Band: band, Allowed: allowed}.rule()
	return band, allowed, "", err == nil && slices.Equal(again, rule)
}

// Same reports whether a product says what a draft does.
func (p Product) Same(d statement.Product) bool {
	return sameTexts(p.Name, d.Name) && sameTexts(p.Brand, d.Brand) && slices.Equal(p.Rule, d.Rule)
}

// sameTexts compares words in whatever order the languages are.
func sameTexts(a, b statement.Texts) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(t statement.Text) bool { return !slices.Contains(b, t) })
}
