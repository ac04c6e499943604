package cddl

import (
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/vectors"
)

// roots are the rules that stand for whole messages and files, or for what is hashed
// or shown by itself.
var roots = []string{"statement", "record", "up", "down", "receipt", "trust", "passport", "evm-evidence", "item-leaf"}

// document is the CDDL of docs/wire-format.md. Its rules count the items that
// they match.
func document(t testing.TB) (s *Schema, matched map[string]int) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/wire-format.md")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for i, block := range strings.Split(string(text), "\n```cddl\n") {
		if cddl, _, ok := strings.Cut(block, "\n```\n"); i > 0 && ok {
			all.WriteString(cddl + "\n")
		}
	}
	if s, err = Parse(all.String()); err != nil {
		t.Fatal(err)
	}
	matched = map[string]int{}
	for rule, of := range s.rules {
		s.rules[rule] = counted{of, rule, matched}
	}
	return s, matched
}

// A counted type counts what it matches.
type counted struct {
	of      typ
	rule    string
	matched map[string]int
}

func (c counted) match(m *matcher, it Item) error {
	err := c.of.match(m, it)
	if err == nil {
		c.matched[c.rule]++
	}
	return err
}

func TestDocument(t *testing.T) {
	s, _ := document(t)
	if unused := s.Unused(roots...); len(unused) > 0 {
		t.Errorf("rules %q are used by nothing\nhint: add to roots what stands for itself", unused)
	}
	t.Logf("%d rules", len(s.Rules()))
}

// A piece is bytes and the rule they are to match.
type piece struct {
	rule string
	data []byte
}

// pieces are what a vector holds: its body first, then what is inside.
func pieces(t *testing.T, v vectors.Vector) []piece {
	t.Helper()
	header := func(name string) []byte {
		b, err := hex.DecodeString(v.Header[name])
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	all := []piece{{v.Header["kind"], v.Body}}
	switch kind := v.Header["kind"]; kind {
	case "key":
		all[0].rule = "cose-key"
	case "payload":
		all[0].rule = v.Header["type"]
	case "leaf":
		all[0].rule = "block"
	case "statement":
		all = append(all, inStatement(v.Body)...)
	case "range":
		all = append(all, piece{"head", header("head")})
		all = append(all, each("head", header("older"))...)
	case "consistency":
		all = append(each("node", v.Body), piece{"head", header("older")}, piece{"head", header("newer")})
	case "up":
		all = append(all, inUp(v.Body)...)
	case "passport":
		all = append(all, piece{"trust", header("trust")})
		all = append(all, inPassport(v.Body)...)
	case "checkpoint":
		return nil // a text
	}
	return all
}

// each takes an array apart.
func each(rule string, data []byte) (all []piece) {
	var raw []any
	_ = dcbor.Unmarshal(data, &raw)
	for _, x := range raw {
		all = append(all, piece{rule, dcbor.MustMarshal(x)})
	}
	return all
}

func inStatement(data []byte) []piece {
	s, err := statement.Parse(data)
	if err != nil {
		return nil
	}
	return []piece{{string(s.Header.Kind), s.Payload}}
}

func inUp(data []byte) (all []piece) {
	var u statement.Up
	_ = dcbor.Unmarshal(data, &u)
	for _, b := range u.Bodies {
		all = append(all, piece{[]string{"block", "head-rec", "sighting", "happening"}[b.Kind-1], b.Body})
	}
	return append(all, piece{"statement", u.Statement})
}

func inPassport(data []byte) (all []piece) {
	p, err := passport.Parse(data)
	if err != nil {
		return nil
	}
	for _, e := range p.Evidence {
		all = append(append(all, piece{"statement", e.Statement}), inStatement(e.Statement)...)
		if e.Shown != nil {
			for _, r := range e.Shown.Records {
				all = append(all, piece{"record", r.Data})
			}
		}
	}
	for _, m := range p.Members {
		all = append(all, piece{"item-leaf", m.Leaf})
	}
	for _, in := range p.Inputs {
		all = append(append(all, piece{"passport", in}), inPassport(in)...)
	}
	for _, trail := range p.Trails {
		all = append(all, piece{"start-of", trail.Start})
		for _, run := range trail.Runs {
			for _, r := range run.Records {
				all = append(all, piece{"record", r})
			}
		}
	}
	return all
}

// judge reads a piece and matches it.
func (s *Schema) judge(p piece) error {
	it, err := Read(p.data)
	if err != nil {
		return err
	}
	return s.Match(p.rule, it)
}

// byForm are the words of refusals for which the form alone is reason enough.
var byForm = []string{
	"malformed", "not deterministic", "not a tagged COSE_Sign1", "unprotected headers", "signature of 63 bytes", "type",
	"neither EdDSA nor ES256", "want EdDSA", "neither Ed25519 nor P-256", "RFC 9162", "receipt has a payload",
	"record kind 5", "list of fewer than two gaps", "not within 32 bits", "out of bounds",
}

// exceptions are the vectors that are refused for another reason than their words
// tell: true if by their form, and else in spite of it.
var exceptions = map[string]bool{
	"passport-statement-cut":        false, // the inside of a byte string has no form in a passport
	"payload-frame-span-backwards":  false, // one member depends on another
	"passport-member-twice":         false, // no order of entries has a form
	"passport-members-out-of-order": false,
	"passport-input-is-noise":       false,
	"passport-inputs-too-deep":      false,

	"passport-event-of-version-2-in-version-1":    false,
	"passport-handover-of-version-2-in-version-1": false,
	"passport-trail-start-is-noise":               true, // inside a byte string, so that the code is trace
}

// TestVectors holds the document's CDDL against every vector: what is good matches
// with all that it holds, and what is refused fails to match exactly if its form
// is the reason.
func TestVectors(t *testing.T) {
	s, matched := document(t)
	all, err := vectors.All()
	if err != nil {
		t.Fatal(err)
	}
	var good, held, shape, encoding, beyond int
	for _, v := range all {
		in := pieces(t, v)
		if len(in) == 0 {
			continue
		}
		if v.Header["expect"] == "ok" {
			good++
			for _, p := range in {
				held++
				if err := s.judge(p); err != nil {
					t.Errorf("%s: %v", v.Name, err)
				}
			}
			continue
		}
		want, ok := exceptions[v.Name]
		if !ok {
			want = slices.Contains(byForm, v.Header["expect"])
		}
		err := s.judge(in[0])
		switch {
		case want && err == nil:
			t.Errorf("%s matches %s and should not: %s", v.Name, in[0].rule, v.Header["expect"])
		case !want && err != nil:
			t.Errorf("%s is of good form: %v", v.Name, err)
		case errors.Is(err, ErrEncoding):
			encoding++
		case err != nil:
			shape++
		default:
			beyond++
		}
	}
	t.Logf("%d good vectors match, %d items in all; of the refused %d are of no such shape, %d are not deterministic CBOR, %d are refused for more than their form",
		good, held, shape, encoding, beyond)
	if good < 60 || shape < 30 || encoding < 10 {
		t.Error("too few for a judgement")
	}
	for _, e := range samples(t) {
		if err := s.judge(e); err != nil {
			t.Error(err)
		}
	}
	for _, rule := range s.Rules() {
		if matched[rule] == 0 {
			t.Errorf("no good item is of rule %s\nhint: add one to samples, in agree_test.go", rule)
		}
	}
}
