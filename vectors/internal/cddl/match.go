package cddl

import (
	"errors"
	"fmt"
	"slices"
)

// prelude is the part of RFC 8610 appendix D that is known here.
var prelude = map[string]func(Item) bool{
	"uint": func(it Item) bool { return it.major == 0 },
	"bstr": func(it Item) bool { return it.major == 2 },
	"tstr": func(it Item) bool { return it.major == 3 },
	"true": func(it Item) bool { return it.major == 7 && it.n == 21 },
	"nil":  func(it Item) bool { return it.major == 7 && it.n == 22 },
}

// A matcher is one judgement.
type matcher struct {
	rules  map[string]typ
	inside bool // .cbor counts
}

func (n name) match(m *matcher, it Item) error {
	if is := prelude[string(n)]; is != nil {
		if !is(it) {
			return fmt.Errorf("%v is not %s", it, n)
		}
		return nil
	}
	return m.rules[string(n)].match(m, it)
}

func (n number) match(_ *matcher, it Item) error {
	if v, ok := it.integer(); !ok || v != int64(n) {
		return fmt.Errorf("%v is not %d", it, n)
	}
	return nil
}

func (w words) match(_ *matcher, it Item) error {
	if it.major != 3 || string(it.bytes) != string(w) {
		return fmt.Errorf("%v is not %q", it, w)
	}
	return nil
}

func (s span) match(_ *matcher, it Item) error {
	if v, ok := it.integer(); !ok || v < s.lo || v > s.hi {
		return fmt.Errorf("%v is not of %d..%d", it, s.lo, s.hi)
	}
	return nil
}

func (c choice) match(m *matcher, it Item) error {
	var all []error
	for _, t := range c {
		err := t.match(m, it)
		if err == nil {
			return nil
		}
		all = append(all, err)
	}
	return fmt.Errorf("of no alternative: %w", errors.Join(all...))
}

func (t tagged) match(m *matcher, it Item) error {
	if it.major != 6 || it.n != t.tag {
		return fmt.Errorf("%v is not tag %d", it, t.tag)
	}
	return t.of.match(m, it.items[0])
}

func (s sized) match(m *matcher, it Item) error {
	if err := s.of.match(m, it); err != nil {
		return err
	}
	if err := s.length.match(m, Item{n: uint64(len(it.bytes))}); err != nil {
		return fmt.Errorf("size: %w", err)
	}
	return nil
}

func (p packed) match(m *matcher, it Item) error {
	if err := p.of.match(m, it); err != nil || !m.inside {
		return err
	}
	in, err := Read(it.bytes)
	if err != nil {
		return err
	}
	return p.in.match(m, in)
}

func (t patterned) match(m *matcher, it Item) error {
	if err := t.of.match(m, it); err != nil {
		return err
	}
	if !t.re.Match(it.bytes) {
		return fmt.Errorf("%v does not match %s", it, t.re)
	}
	return nil
}

func (a array) match(m *matcher, it Item) error {
	if it.major != 4 {
		return fmt.Errorf("%v is not an array", it)
	}
	at, last := a.elements(m, it.items, 0)
	switch {
	case at < 0:
		return last
	case at < len(it.items):
		return errors.Join(fmt.Errorf("element %d is left over", at), last)
	}
	return nil
}

// elements matches a group from element at on. It returns where it ended, or a
// negative number and why not; beside an end it tells why it went no further.
func (g group) elements(m *matcher, items []Item, at int) (end int, last error) {
	for _, sequence := range g {
		end, err := at, error(nil)
		for _, e := range sequence {
			if end, err = e.elements(m, items, end); end < 0 {
				break
			}
		}
		if end >= 0 {
			return end, err
		}
		last = errors.Join(last, err)
	}
	return -1, last
}

func (e entry) elements(m *matcher, items []Item, at int) (end int, last error) {
	for n := 0; e.max < 0 || n < e.max; n++ {
		next, err := e.element(m, items, at)
		if next < 0 && n < e.min {
			return -1, err
		}
		if next < 0 || next == at {
			return at, err
		}
		at = next
	}
	return at, nil
}

func (e entry) element(m *matcher, items []Item, at int) (end int, err error) {
	if e.value == nil {
		return e.group.elements(m, items, at)
	}
	if at == len(items) {
		return -1, fmt.Errorf("no element %d", at)
	}
	if err := e.value.match(m, items[at]); err != nil {
		return -1, fmt.Errorf("[%d]: %w", at, err)
	}
	return at + 1, nil
}

// errAbsent reports a member that is not there. Every other error of a map's
// group is a cut: it stands even where the group is optional.
var errAbsent = errors.New("absent")

func (t mapping) match(m *matcher, it Item) error {
	if it.major != 5 {
		return fmt.Errorf("%v is not a map", it)
	}
	seen, err := t.members(m, it.items, nil)
	if err != nil {
		return err
	}
	for i := 0; i < len(it.items); i += 2 {
		if !slices.Contains(seen, i) {
			return fmt.Errorf("key %v is not expected", it.items[i])
		}
	}
	return nil
}

// members matches a group with keys and values in turn, and adds the places of
// the keys that it found to seen.
func (g group) members(m *matcher, pairs []Item, seen []int) ([]int, error) {
	for _, e := range g[0] {
		now, err := e.members(m, pairs, seen)
		switch {
		case err == nil:
			seen = now
		case e.min > 0 || !errors.Is(err, errAbsent):
			return nil, err
		}
	}
	return seen, nil
}

func (e entry) members(m *matcher, pairs []Item, seen []int) ([]int, error) {
	if e.value == nil {
		return e.group.members(m, pairs, seen)
	}
	for i := 0; i < len(pairs); i += 2 {
		if slices.Contains(seen, i) || e.key.match(m, pairs[i]) != nil {
			continue
		}
		if err := e.value.match(m, pairs[i+1]); err != nil {
			// A member of what is inside may be absent; this one is not.
			return nil, fmt.Errorf("%v: %w", pairs[i], cut{err})
		}
		return append(slices.Clone(seen), i), nil
	}
	return nil, fmt.Errorf("%v: %w", e.key, errAbsent)
}

// A cut hides why a value is wrong from errors.Is.
type cut struct{ err error }

func (c cut) Error() string { return c.err.Error() }
