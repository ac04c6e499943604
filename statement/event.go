package statement

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"trailmark/internal/dcbor"
)

// An Action says what an event did to its objects.
type Action uint64

// Actions of events.
const (
	Commission   Action = 1 // came into being
	Pack         Action = 2 // an AggregationEvent that adds children to a parent
	Unpack       Action = 3 // one that takes them out
	Transform    Action = 4 // inputs became outputs
	Observe      Action = 5 // any other event
	Decommission Action = 6
)

const maxNamed = 16

// Event ties an EPCIS 2.0 event to each object's event before. Of version 2,
// which NewEvent makes, verifiers read these members and never the document;
// version 1 carries the document and says nothing else.
type Event struct {
	Version  uint64
	Document Hash       // version 2: SHA-256 of the document
	EPCIS    []byte     // version 1: the document, JSON-LD
	Action   Action     // version 2, like all that follows but Objects and Items
	At       int64      // when it happened, ms
	Objects  []EventOf  // objects by name; of Pack and Unpack the parent alone
	Items    *ItemsRoot // objects that are shown one by one; in version 1 absent or not
	Inputs   *ItemsRoot // of Transform, and then present
	Place    string     // readPoint or bizLocation, "" for none
	Step     string     // short name of a CBV business step, "" for none
}

// EventOf names an object and the statement id of its previous event.
type EventOf struct {
	_      struct{} `cbor:",toarray"`
	Object string
	Prev   Hash
}

// event1 and event2 are the two forms on the wire.
type event1 struct {
	Version uint64     `cbor:"1,keyasint"`
	EPCIS   []byte     `cbor:"2,keyasint"`
	Objects []EventOf  `cbor:"3,keyasint"`
	Items   *ItemsRoot `cbor:"4,keyasint,omitempty"`
}

type event2 struct {
	Version  uint64     `cbor:"1,keyasint"`
	Document Hash       `cbor:"2,keyasint"`
	Action   Action     `cbor:"3,keyasint"`
	At       int64      `cbor:"4,keyasint"`
	Objects  []EventOf  `cbor:"5,keyasint"`
	Items    ItemsRoot  `cbor:"6,keyasint"`
	Inputs   *ItemsRoot `cbor:"7,keyasint,omitempty"`
	Place    string     `cbor:"8,keyasint,omitempty"`
	Step     string     `cbor:"9,keyasint,omitempty"`
}

// NewEvent is an event of version 2 over the document as it was captured.
func NewEvent(document []byte, action Action, at int64, items Items, named ...EventOf) *Event {
	root := items.Root()
	return &Event{Version: 2, Document: sha256.Sum256(document), Action: action, At: at, Objects: named, Items: &root}
}

// MarshalCBOR writes the form of the event's version.
func (e Event) MarshalCBOR() ([]byte, error) {
	if e.Version == 1 {
		return dcbor.Marshal(event1{1, e.EPCIS, e.Objects, e.Items})
	}
	if e.Items == nil {
		return nil, errors.New("event of version 2 without items\nhint: a list of none has a root, too")
	}
	return dcbor.Marshal(event2{e.Version, e.Document, e.Action, e.At, e.Objects, *e.Items, e.Inputs, e.Place, e.Step})
}

// UnmarshalCBOR reads either form: the version is the first byte after the head
// of the map and its first key.
func (e *Event) UnmarshalCBOR(data []byte) error {
	var version byte
	if len(data) > 2 && data[1] == 1 {
		version = data[2]
	}
	switch {
	case version > 2 && version < 24:
		return fmt.Errorf("event version %d is out of bounds, want 1 or 2", version)
	case version == 2:
		var w event2
		if err := dcbor.Unmarshal(data, &w); err != nil {
			return err
		}
		*e = Event{Version: 2, Document: w.Document, Action: w.Action, At: w.At, Objects: w.Objects, Items: &w.Items, Inputs: w.Inputs, Place: w.Place, Step: w.Step}
		return nil
	}
	var w event1
	if err := dcbor.Unmarshal(data, &w); err != nil {
		return err
	}
	*e = Event{Version: 1, EPCIS: w.EPCIS, Objects: w.Objects, Items: w.Items}
	return nil
}

// Check refuses an event out of bounds.
func (e *Event) Check() error {
	seen := map[string]bool{}
	for _, o := range e.Objects {
		if o.Object == "" || !validText(o.Object) || e.Version == 2 && seen[o.Object] {
			return fmt.Errorf("event out of bounds: object %q twice or out of bounds", o.Object)
		}
		seen[o.Object] = true
	}
	switch e.Version {
	case 1:
		if len(e.EPCIS) < 1 || len(e.EPCIS) > 1<<16 || len(e.Objects) < 1 || len(e.Objects) > 256 || e.Items != nil && e.Items.Size > MaxUint {
			return errors.New("event out of bounds")
		}
		return nil
	case 2:
		return e.check2()
	}
	return fmt.Errorf("event version %d is out of bounds, want 1 or 2", e.Version)
}

func (e *Event) check2() error {
	if e.Action < Commission || e.Action > Decommission || !validTime(e.At) || len(e.Objects) > maxNamed || !validText(e.Place) || !validText(e.Step) {
		return fmt.Errorf("event out of bounds: action %d, %d objects by name", e.Action, len(e.Objects))
	}
	if e.Items == nil {
		return errors.New("event out of bounds: no items")
	}
	if err := e.Items.Check(); err != nil {
		return err
	}
	if (e.Inputs != nil) != (e.Action == Transform) || e.Inputs != nil && e.Inputs.Size == 0 {
		return fmt.Errorf("event of action %d: inputs are of a transformation, which has some", e.Action)
	}
	if e.Inputs != nil {
		if err := e.Inputs.Check(); err != nil {
			return err
		}
	}
	if parent := e.Action == Pack || e.Action == Unpack; parent && len(e.Objects) != 1 {
		return fmt.Errorf("packing of %d parents, want 1", len(e.Objects))
	}
	if len(e.Objects) == 0 && e.Items.Size == 0 || e.Action == Pack && e.Items.Size == 0 {
		return errors.New("event of no object")
	}
	return nil
}

// Event decodes an event statement's payload.
func (s *Statement) Event() (*Event, error) { return decode(s, KindEvent, new(Event)) }
