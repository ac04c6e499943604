package statement

import (
	"errors"
	"fmt"

	"trailmark/trace"
)

// maxMoments bounds the trace heads of one change of custody.
const maxMoments = 16

// A Moment is the state of one channel at a change of custody: the temperature
// digest that both custodians sign.
type Moment struct {
	_       struct{} `cbor:",toarray"`
	Device  Hash
	Channel string
	Head    trace.Head
}

// Handover is a custodian's word that he gave objects to another.
type Handover struct {
	Version uint64   `cbor:"1,keyasint"`
	Objects []string `cbor:"2,keyasint"` // canonical Digital Links; in version 1 any URI
	At      int64    `cbor:"3,keyasint"`
	To      string   `cbor:"4,keyasint"`
	Place   string   `cbor:"5,keyasint,omitempty"`
	Moments []Moment `cbor:"6,keyasint,omitempty"` // of version 2
}

// NewHandover is a handover of the version that its moments ask for.
func NewHandover(objects []string, at int64, to, place string, moments ...Moment) *Handover {
	return &Handover{Version: transferVersion(moments), Objects: objects, At: at, To: to, Place: place, Moments: moments}
}

// Check refuses a handover out of bounds.
func (h *Handover) Check() error {
	return checkTransfer(h.Version, h.Objects, h.At, h.To, h.Moments, validText(h.Place))
}

// Handover decodes a handover statement's payload.
func (s *Statement) Handover() (*Handover, error) { return decode(s, KindHandover, new(Handover)) }

// Acceptance is a custodian's word that he took objects over.
type Acceptance struct {
	Version  uint64   `cbor:"1,keyasint"`
	Objects  []string `cbor:"2,keyasint"`
	At       int64    `cbor:"3,keyasint"`
	From     string   `cbor:"4,keyasint"`
	Handover Hash     `cbor:"5,keyasint"`           // statement id
	Moments  []Moment `cbor:"6,keyasint,omitempty"` // of version 2
}

// NewAcceptance is an acceptance of the version that its moments ask for.
func NewAcceptance(objects []string, at int64, from string, handover Hash, moments ...Moment) *Acceptance {
	return &Acceptance{Version: transferVersion(moments), Objects: objects, At: at, From: from, Handover: handover, Moments: moments}
}

// Check refuses an acceptance out of bounds.
func (a *Acceptance) Check() error {
	if a.Handover.IsZero() {
		return errors.New("acceptance of nothing")
	}
	return checkTransfer(a.Version, a.Objects, a.At, a.From, a.Moments, true)
}

// Acceptance decodes an acceptance statement's payload.
func (s *Statement) Acceptance() (*Acceptance, error) {
	return decode(s, KindAcceptance, new(Acceptance))
}

// transferVersion is 2 exactly when there are moments: they came with it.
func transferVersion(moments []Moment) uint64 {
	if len(moments) > 0 {
		return 2
	}
	return 1
}

func checkTransfer(version uint64, objects []string, at int64, other string, moments []Moment, rest bool) error {
	if version != transferVersion(moments) {
		return fmt.Errorf("malformed custody transfer of version %d with %d moments\nhint: it is of version 2 exactly when it has moments", version, len(moments))
	}
	ok := len(objects) >= 1 && len(objects) <= 256 && validTime(at) && other != "" && validText(other) && rest && len(moments) <= maxMoments
	for _, o := range objects {
		ok = ok && o != "" && validText(o)
	}
	if !ok {
		return errors.New("custody transfer out of bounds")
	}
	type channel struct {
		device Hash
		name   string
	}
	seen := map[channel]bool{}
	for _, m := range moments {
		at := channel{m.Device, m.Channel}
		if !validName(m.Channel) || seen[at] {
			return fmt.Errorf("moment of channel %q twice or out of bounds", m.Channel)
		}
		seen[at] = true
		if err := m.Head.Check(); err != nil {
			return fmt.Errorf("moment of channel %q: %w", m.Channel, err)
		}
	}
	return nil
}
