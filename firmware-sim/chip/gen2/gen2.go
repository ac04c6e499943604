// Package gen2 is what happens between an UHF reader and the tags in its field:
// inventory rounds by slotted ALOHA, as EPCglobal Class 1 Generation 2 (ISO
// 18000-63) has them.
//
// Tags that choose the same slot collide and are not heard, a reader adapts the
// number of slots to what it hears, and a tag that was inventoried stays silent
// in its session for a while. So a round does not hear every tag, and one that
// is short hears few of many.
package gen2

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Tag is one tag in the field.
type Tag struct {
	EPC  []byte
	TID  []byte // of the chip, from E2h on; nil: it keeps none
	RSSI int    // dBm, at the reader
}

// Sensitivity is the weakest backscatter a reader decodes, in dBm. A tag that is
// less than fade dB above it is heard in proportion.
const (
	Sensitivity = -84
	fade        = 10
)

// How long a slot takes at Miller 4 and a link frequency of 250 kHz.
const (
	emptySlot     = 200 * time.Microsecond
	collisionSlot = 900 * time.Microsecond
	singleSlot    = 2400 * time.Microsecond // with the EPC
)

// Persistence of the inventoried flags (Gen2 v2.0.1, table 6.20). The standard
// gives ranges; a tag keeps its own value within them.
const (
	shortestS1 = 500 * time.Millisecond
	longestS1  = 5 * time.Second
	shortestS2 = 2 * time.Second // of S2 and S3, once the tag has lost its power
	forgotten  = time.Minute
)

// A Round is one inventory round: of the tags whose flag in Session is B if B is
// set, A otherwise. It ends after Budget or when nobody answers any more.
type Round struct {
	Session uint8 // 0..3
	B       bool
	Budget  time.Duration
}

// Q of the first frame, the largest one, and how fast it adapts (annex D of the
// standard wants 0.1 to 0.5).
const (
	firstQ = 4.0
	maxQ   = 15.0
	stepQ  = 0.3
)

// flags are the inventoried flags of one tag.
type flags struct {
	b      [4]bool
	until  time.Time     // when S1 falls back
	s1     time.Duration // this tag's own persistence
	energy time.Time     // when it last had power
}

// An Air is one field. It belongs to one goroutine.
type Air struct {
	rng  *rand.Rand
	tags map[string]*flags
}

// New returns a field; two with the same seed and the same rounds hear the same.
func New(seed uint64) *Air {
	return &Air{rng: rand.New(rand.NewPCG(seed, 0x67656e32)), tags: map[string]*flags{}}
}

// Inventory runs a round over the tags and returns the indexes of those heard,
// in the order heard. The field was off just before it.
func (a *Air) Inventory(now time.Time, tags []Tag, r Round) []int {
	for epc, f := range a.tags {
		if now.Sub(f.energy) > forgotten {
			delete(a.tags, epc)
		}
	}
	var waiting []int
	for i, t := range tags {
		if t.RSSI < Sensitivity {
			continue
		}
		f := a.flags(t.EPC, now)
		if f.b[r.Session&3] == r.B {
			waiting = append(waiting, i)
		}
	}
	var heard []int
	var spent time.Duration
	for q := firstQ; spent < r.Budget; {
		slots := 1 << int(math.Round(q))
		choice := make(map[int][]int, len(waiting))
		for _, i := range waiting {
			s := a.rng.IntN(slots)
			choice[s] = append(choice[s], i)
		}
		was, answered := slots, false
		for s := 0; s < slots && spent < r.Budget && was == 1<<int(math.Round(q)); s++ {
			switch in := choice[s]; len(in) {
			case 0:
				spent += emptySlot
				q = max(q-stepQ, 0)
			case 1:
				spent += singleSlot
				answered = true
				waiting = remove(waiting, in[0])
				if t := tags[in[0]]; a.rng.IntN(fade) <= t.RSSI-Sensitivity {
					heard = append(heard, in[0])
					a.turn(t.EPC, r.Session&3, now.Add(spent))
				}
			default:
				spent += collisionSlot
				answered = true
				q = min(q+stepQ, maxQ)
			}
		}
		if !answered && slots == 1 {
			break // one slot and nobody in it
		}
	}
	return heard
}

// flags returns those of a tag that has just got power.
func (a *Air) flags(epc []byte, now time.Time) *flags {
	f := a.tags[string(epc)]
	if f == nil {
		f = &flags{s1: shortestS1 + time.Duration(a.rng.Int64N(int64(longestS1-shortestS1)))}
		a.tags[string(epc)] = f
	}
	f.b[0] = false // S0 does not outlive the field
	if now.After(f.until) {
		f.b[1] = false
	}
	if now.Sub(f.energy) > shortestS2 {
		f.b[2], f.b[3] = false, false
	}
	f.energy = now
	return f
}

// turn inverts a tag's flag: it was inventoried.
func (a *Air) turn(epc []byte, session uint8, now time.Time) {
	f := a.tags[string(epc)]
	f.b[session] = !f.b[session]
	if session == 1 {
		f.until = now.Add(f.s1)
	}
}

func remove(waiting []int, i int) []int {
	for k, v := range waiting {
		if v == i {
			return append(waiting[:k], waiting[k+1:]...)
		}
	}
	return waiting
}
