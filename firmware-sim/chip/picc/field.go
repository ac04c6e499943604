package picc

import (
	"slices"
	"sync"
	"time"
)

// Options are the manners of the cards in a field. The zero value starts and
// forgets at once, as most real ones nearly do.
type Options struct {
	Hold   time.Duration // how long cards keep their state without a field; the standard allows 5 ms
	Settle time.Duration // how long they are deaf after it came; the standard allows 5 ms
}

// A Field is the space before one antenna. Its methods may be called from any
// goroutine.
type Field struct {
	o Options

	mu      sync.Mutex // guards the rest
	cards   []*standing
	on      bool
	changed time.Time // when on was last set
	sent    Frame     // what the reader sent last
	disturb func(sent Frame, bit int, c Cell) Cell
}

// standing is a card in the field and what it is saying.
type standing struct {
	*Tag
	answer Frame
	left   int // bit times until it leaves, negative: it stays
}

// NewField is an empty field without a carrier.
func NewField(o Options) *Field { return &Field{o: o} }

// Put brings a card into the field.
func (f *Field) Put(tags ...*Tag) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range tags {
		t.power(f.on)
		f.cards = append(f.cards, &standing{Tag: t, left: -1})
	}
}

// Take takes a card away; it does not finish what it is saying.
func (f *Field) Take(t *Tag) { f.TakeAfter(t, 0) }

// TakeAfter takes a card away when it has sent n further bits, the start bit
// and parity bits counted.
func (f *Field) TakeAfter(t *Tag, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.cards {
		if s.Tag == t {
			s.left = n
		}
	}
	f.sweep()
}

// sweep forgets the cards that have left. The caller holds mu.
func (f *Field) sweep() {
	f.cards = slices.DeleteFunc(f.cards, func(s *standing) bool {
		if s.left == 0 {
			s.power(false)
		}
		return s.left == 0
	})
}

// Disturb puts d between the cards and the reader: it sees every bit time of
// the answer to sent, bit 0 being the start bit, until it lets a None pass, and
// says what is heard. A nil d is silence in the ether.
func (f *Field) Disturb(d func(sent Frame, bit int, c Cell) Cell) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disturb = d
}

// Power switches the carrier.
func (f *Field) Power(on bool, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if on == f.on {
		return
	}
	kept := on && !f.changed.IsZero() && at.Sub(f.changed) < f.o.Hold
	f.on, f.changed, f.sent = on, at, nil
	for _, s := range f.cards {
		s.answer = nil
		if on && !kept {
			s.power(true)
		} else if !on && f.o.Hold == 0 {
			s.power(false)
		}
	}
}

// Send gives every card the reader's frame, which ends at that time. What they
// answer is heard with Cell.
func (f *Field) Send(frame Frame, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = frame
	for _, s := range f.cards {
		s.answer = nil
		if f.on && at.Sub(f.changed) >= f.o.Settle {
			if a := s.receive(frame); a != nil {
				s.answer = append(Frame{One}, a...)
			}
		}
	}
}

// Cell is bit i of the answer: all cards over one another. Bits are to be asked
// for in order, once each, the start bit first; None ends the answer.
func (f *Field) Cell(i int) Cell {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := None
	for _, s := range f.cards {
		if i < len(s.answer) {
			c |= s.answer[i]
			if s.left > 0 {
				s.left--
			}
		}
	}
	f.sweep()
	if f.disturb != nil && f.on {
		c = f.disturb(f.sent, i, c)
	}
	return c
}
