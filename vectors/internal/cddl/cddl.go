// Package cddl judges CBOR by data definitions in CDDL (RFC 8610), so that those
// of docs/wire-format.md can be held against the vectors.
//
// It reads what that document uses: type rules; maps with integer or text keys,
// arrays, tags and choices; groups and occurrences; ranges; .size, .cbor and
// .regexp; of the prelude uint, bstr, tstr, nil and true. It refuses the rest, an
// undefined name and a rule that contains itself. As the colon after a key implies
// a cut (section 3.5.4), a member with the right key and a wrong value is an error
// even where it is optional. Groups match greedily and alternatives in their
// order, as in a parsing expression grammar (appendix A).
package cddl

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// A Schema is a set of rules.
type Schema struct {
	rules map[string]typ
	uses  map[string][]string // the names in each rule
}

// Rules are the names of the rules, sorted.
func (s *Schema) Rules() []string { return slices.Sorted(maps.Keys(s.rules)) }

// Unused are the rules that none of the roots leads to, sorted.
func (s *Schema) Unused(roots ...string) []string {
	seen := map[string]bool{}
	for len(roots) > 0 {
		name := roots[0]
		roots = roots[1:]
		if !seen[name] {
			seen[name] = true
			roots = append(slices.Clone(s.uses[name]), roots...)
		}
	}
	return slices.DeleteFunc(s.Rules(), func(name string) bool { return seen[name] })
}

// Match reports why an item is not of a rule, or nil.
func (s *Schema) Match(rule string, it Item) error { return s.match(rule, it, true) }

// MatchOutside is Match, but what .cbor says of the inside of a byte string does
// not count.
func (s *Schema) MatchOutside(rule string, it Item) error { return s.match(rule, it, false) }

func (s *Schema) match(rule string, it Item, inside bool) error {
	t, ok := s.rules[rule]
	if !ok {
		return fmt.Errorf("rule %q is not defined", rule)
	}
	if err := t.match(&matcher{s.rules, inside}, it); err != nil {
		return fmt.Errorf("%s: %w", rule, err)
	}
	return nil
}

// A typ is a set of items.
type typ interface {
	// match reports why an item is not in the set, or nil.
	match(*matcher, Item) error
}

type (
	choice []typ  // at least two
	name   string // of a rule or of the prelude
	number int64
	words  string
	span   struct{ lo, hi int64 }
	tagged struct {
		tag uint64
		of  typ
	}
	sized     struct{ of, length typ }
	packed    struct{ of, in typ } // .cbor
	patterned struct {             // .regexp
		of typ
		re *regexp.Regexp
	}
	array   struct{ group }
	mapping struct{ group }
)

// A group is a choice of sequences of entries.
type group [][]entry

// An entry occurs min to max times (max < 0: any number): in an array a typ, in a
// map a key with a typ, in either a group.
type entry struct {
	min, max int
	key      typ // a number or words; nil in an array
	value    typ
	group    group // if value is nil
}
