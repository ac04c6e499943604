package statement

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

// A Text is words in one language (BCP 47 tag first).
type Text struct {
	_     struct{} `cbor:",toarray"`
	Lang  string   `json:"lang"`
	Words string   `json:"words"`
}

// Texts is the same words in several languages.
type Texts []Text

// In is the words in lang, else the first.
func (t Texts) In(lang string) string {
	for _, x := range t {
		if x.Lang == lang {
			return x.Words
		}
	}
	if len(t) == 0 {
		return ""
	}
	return t[0].Words
}

func (t Texts) check() error {
	if len(t) < 1 || len(t) > 8 {
		return fmt.Errorf("words in %d languages, want 1..8", len(t))
	}
	for _, x := range t {
		if len(x.Lang) < 2 || len(x.Lang) > 16 || !validText(x.Words) {
			return fmt.Errorf("words in language %q out of bounds", x.Lang)
		}
	}
	return nil
}

// Identity is the authority's word that a key is somebody's.
type Identity struct {
	Version   uint64    `cbor:"1,keyasint"`
	Key       PublicKey `cbor:"2,keyasint"`
	Subject   string    `cbor:"3,keyasint"` // the issuer of what the key signs
	Role      Role      `cbor:"4,keyasint"`
	Epoch     uint64    `cbor:"5,keyasint"` // that this key opens, of a device
	From      int64     `cbor:"6,keyasint"` // ms
	To        int64     `cbor:"7,keyasint"`
	Replaces  *Hash     `cbor:"8,keyasint,omitempty"`
	Simulated bool      `cbor:"9,keyasint,omitempty"`
	Name      string    `cbor:"10,keyasint,omitempty"`
}

// PublicKey is a COSE_Key inside a payload.
type PublicKey struct{ Key }

// MarshalCBOR writes the COSE_Key.
func (k PublicKey) MarshalCBOR() ([]byte, error) {
	if k.IsZero() {
		return nil, errors.New("no key to encode")
	}
	return k.encoded, nil
}

// UnmarshalCBOR reads a COSE_Key and refuses a weak one.
func (k *PublicKey) UnmarshalCBOR(data []byte) (err error) {
	k.Key, err = ParseKey(bytes.Clone(data))
	return err
}

// Check refuses an identity out of bounds.
func (i *Identity) Check() error {
	if i.Version != 1 || i.Key.IsZero() || len(i.Subject) == 0 || !validText(i.Subject) || i.Role < RoleDevice ||
		i.Role > RoleAuthority || i.Epoch > MaxUint || !validTime(i.From) || !validTime(i.To) || i.From > i.To ||
		!validText(i.Name) || i.Role != RoleDevice && i.Epoch != 0 {
		return errors.New("identity out of bounds")
	}
	return nil
}

// Identity decodes an identity statement's payload.
func (s *Statement) Identity() (*Identity, error) { return decode(s, KindIdentity, new(Identity)) }

// KeyStatus lists the keys in force and those revoked, at a ledger size.
type KeyStatus struct {
	Version uint64    `cbor:"1,keyasint"`
	Origin  string    `cbor:"2,keyasint"`
	Size    uint64    `cbor:"3,keyasint"`
	At      int64     `cbor:"4,keyasint"`
	InForce []Hash    `cbor:"5,keyasint"` // ascending
	Revoked []Revoked `cbor:"6,keyasint"`
}

// Revoked voids what a key signed from a seq of an epoch on.
type Revoked struct {
	_          struct{} `cbor:",toarray"`
	KeyID      Hash
	Epoch, Seq uint64
}

// Check refuses a key status out of bounds.
func (k *KeyStatus) Check() error {
	if k.Version != 1 || len(k.Origin) == 0 || !validText(k.Origin) || k.Size > MaxUint || !validTime(k.At) {
		return errors.New("key status out of bounds")
	}
	ascending := func(a, b Hash) int { return bytes.Compare(a[:], b[:]) }
	for i := 1; i < len(k.InForce); i++ {
		if ascending(k.InForce[i-1], k.InForce[i]) >= 0 {
			return errors.New("keys in force are not ascending")
		}
	}
	for _, r := range k.Revoked {
		if _, both := slices.BinarySearchFunc(k.InForce, r.KeyID, ascending); both || r.Epoch > MaxUint || r.Seq > MaxUint {
			return fmt.Errorf("key %.8s… revoked and in force, or out of bounds", r.KeyID)
		}
	}
	return nil
}

// KeyStatus decodes a keystatus statement's payload.
func (s *Statement) KeyStatus() (*KeyStatus, error) { return decode(s, KindKeyStatus, new(KeyStatus)) }

// Plan says which devices, channels and antennas serve which zone of a site.
type Plan struct {
	Version uint64 `cbor:"1,keyasint"`
	Seq     uint64 `cbor:"2,keyasint"`
	Prev    Hash   `cbor:"3,keyasint"`
	Site    Texts  `cbor:"4,keyasint"`
	Zones   []Zone `cbor:"5,keyasint"`
}

// Zone is one room, vehicle or cabinet.
type Zone struct {
	ID         string    `cbor:"1,keyasint"`
	Name       Texts     `cbor:"2,keyasint"`
	Channels   []Channel `cbor:"3,keyasint"`
	Antennas   []Antenna `cbor:"4,keyasint"`
	ReRead     int64     `cbor:"5,keyasint"` // ms: sightings no further apart mean "seen all along"
	Neighbours []string  `cbor:"6,keyasint,omitempty"`
}

// Closeness says how near a probe is to the goods.
type Closeness uint64

// Levels of closeness.
const (
	Declared Closeness = 0
	SameRoom Closeness = 1
	SameBox  Closeness = 2
	OnItem   Closeness = 3
)

// Channel is a plan's entry for one channel of one device.
type Channel struct {
	Device      Hash          `cbor:"1,keyasint"`
	Name        string        `cbor:"2,keyasint"`
	Unit        string        `cbor:"3,keyasint"` // SenML
	Limits      []trace.Limit `cbor:"4,keyasint"`
	Nominal     int64         `cbor:"5,keyasint"` // ms between readings
	Closeness   Closeness     `cbor:"6,keyasint"`
	Calibration *Hash         `cbor:"7,keyasint,omitempty"`
}

// Spec is what the digests of the channel's trace depend on.
func (c Channel) Spec() trace.Spec {
	return trace.Spec{Unit: c.Unit, Limits: c.Limits, Nominal: c.Nominal}
}

// Hash is what a trace's start names: SHA-256 of the encoded entry. A plan that
// changes another entry does not restart this channel's trace.
func (c Channel) Hash() Hash { return sha256.Sum256(dcbor.MustMarshal(c)) }

// AntennaRole says what being seen by an antenna means.
type AntennaRole uint64

// Roles of antennas.
const (
	Inside    AntennaRole = 1
	Portal    AntennaRole = 2
	Overlooks AntennaRole = 3
)

// Antenna is a plan's entry for one antenna of one device.
type Antenna struct {
	Device Hash        `cbor:"1,keyasint"`
	Name   string      `cbor:"2,keyasint"`
	Role   AntennaRole `cbor:"3,keyasint"`
}

// Check refuses a plan out of bounds, or one that gives a channel or an antenna
// to two zones.
func (p *Plan) Check() error {
	if p.Version != 1 || p.Seq > MaxUint || (p.Seq == 0) != p.Prev.IsZero() || len(p.Zones) < 1 || len(p.Zones) > 256 {
		return errors.New("plan out of bounds")
	}
	if err := p.Site.check(); err != nil {
		return err
	}
	type entry struct {
		dev     Hash
		name    string
		antenna bool
	}
	seen := map[entry]bool{}
	zones := map[string]bool{}
	for _, z := range p.Zones {
		if !validName(z.ID) || zones[z.ID] || !validTime(z.ReRead) {
			return fmt.Errorf("zone %q twice or out of bounds", z.ID)
		}
		zones[z.ID] = true
		if err := z.Name.check(); err != nil {
			return err
		}
		for _, n := range z.Neighbours {
			if !validName(n) {
				return errors.New("neighbour's name out of bounds")
			}
		}
		for _, c := range z.Channels {
			e := entry{c.Device, c.Name, false}
			if !validName(c.Name) || len(c.Unit) < 1 || len(c.Unit) > 16 || c.Closeness > OnItem || seen[e] {
				return fmt.Errorf("channel %q twice or out of bounds", c.Name)
			}
			seen[e] = true
			if err := c.Spec().Check(); err != nil {
				return fmt.Errorf("channel %q: %w", c.Name, err)
			}
		}
		for _, a := range z.Antennas {
			e := entry{a.Device, a.Name, true}
			if !validName(a.Name) || a.Role < Inside || a.Role > Overlooks || seen[e] {
				return fmt.Errorf("antenna %q twice or out of bounds", a.Name)
			}
			seen[e] = true
		}
	}
	return nil
}

// Channel is the plan's entry for a channel of a device.
func (p *Plan) Channel(device Hash, name string) (zone string, c Channel, ok bool) {
	for _, z := range p.Zones {
		for _, c := range z.Channels {
			if c.Device == device && c.Name == name {
				return z.ID, c, true
			}
		}
	}
	return "", Channel{}, false
}

// Antenna is the plan's entry for an antenna of a device.
func (p *Plan) Antenna(device Hash, name string) (zone string, a Antenna, ok bool) {
	for _, z := range p.Zones {
		for _, a := range z.Antennas {
			if a.Device == device && a.Name == name {
				return z.ID, a, true
			}
		}
	}
	return "", Antenna{}, false
}

// Zone is the zone with this id.
func (p *Plan) Zone(id string) (Zone, bool) {
	for _, z := range p.Zones {
		if z.ID == id {
			return z, true
		}
	}
	return Zone{}, false
}

// Plan decodes a plan statement's payload.
func (s *Statement) Plan() (*Plan, error) { return decode(s, KindPlan, new(Plan)) }

// Product is a brand's word on what a GTIN is and which rule judges its items.
type Product struct {
	Version uint64      `cbor:"1,keyasint"`
	GTIN    string      `cbor:"2,keyasint"` // 14 digits
	Lot     string      `cbor:"3,keyasint,omitempty"`
	Name    Texts       `cbor:"4,keyasint"`
	Brand   Texts       `cbor:"5,keyasint"`
	Rule    []Criterion `cbor:"6,keyasint"`
}

// Accumulation says which time a criterion counts.
type Accumulation uint64

// Kinds of criteria.
const (
	Single     Accumulation = 1 // the longest run beyond the limit
	Cumulative Accumulation = 2 // all time beyond it
)

// A Criterion is broken by time beyond a limit of at least For ms; For 0: by any.
type Criterion struct {
	_     struct{}     `cbor:",toarray"`
	Unit  string       `json:"unit"`
	Limit trace.Limit  `json:"limit"`
	Kind  Accumulation `json:"kind"`
	For   int64        `json:"for_ms"`
}

// Check refuses a product out of bounds.
func (p *Product) Check() error {
	if p.Version != 1 || len(p.GTIN) != 14 || !validText(p.Lot) || len(p.Rule) < 1 || len(p.Rule) > 16 {
		return errors.New("product out of bounds")
	}
	for _, c := range p.GTIN {
		if c < '0' || c > '9' {
			return fmt.Errorf("gtin %q is not 14 digits", p.GTIN)
		}
	}
	for _, c := range p.Rule {
		if len(c.Unit) < 1 || len(c.Unit) > 16 || c.Kind < Single || c.Kind > Cumulative || !validTime(c.For) {
			return errors.New("criterion out of bounds")
		}
		if err := (trace.Spec{Limits: []trace.Limit{c.Limit}, Nominal: 1}).Check(); err != nil {
			return err
		}
	}
	return errors.Join(p.Name.check(), p.Brand.check())
}

// Product decodes a product statement's payload.
func (s *Statement) Product() (*Product, error) { return decode(s, KindProduct, new(Product)) }
