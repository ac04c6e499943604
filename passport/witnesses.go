package passport

import (
	"errors"
	"fmt"
	"slices"

	"trailmark/statement"
)

// Bounds of the witnesses of a trust file.
const (
	maxWitnesses = 64
	MaxQuorum    = 64
)

// Witnesses is who must have cosigned a ledger's checkpoint for a split view to be
// excluded.
type Witnesses struct {
	Quorum  uint64    `cbor:"1,keyasint"`
	Named   []Witness `cbor:"2,keyasint"`
	Devices bool      `cbor:"3,keyasint,omitempty"` // those that an authority vouches for count, too
}

// A Witness is a pinned witness.
type Witness struct {
	_    struct{} `cbor:",toarray"`
	Name string
	Key  statement.PublicKey // Ed25519
}

func (w *Witnesses) check() error {
	if w.Quorum < 1 || w.Quorum > MaxQuorum || len(w.Named) > maxWitnesses {
		return fmt.Errorf("quorum of %d of %d witnesses is out of bounds", w.Quorum, len(w.Named))
	}
	if !w.Devices && w.Quorum > uint64(len(w.Named)) {
		return fmt.Errorf("quorum of %d can never be had of %d witnesses", w.Quorum, len(w.Named))
	}
	names, keys := map[string]bool{}, map[statement.Hash]bool{}
	for _, n := range w.Named {
		if _, err := statement.NewWitness(n.Name, n.Key.Key); err != nil {
			return err
		}
		if names[n.Name] || keys[n.Key.ID()] {
			return fmt.Errorf("witness %q is given twice", n.Name)
		}
		names[n.Name], keys[n.Key.ID()] = true, true
	}
	return nil
}

// cosigner is a known key.
type cosigner struct {
	statement.Witness
	device *statement.Identity // nil: a named witness
}

// cosigners are the keys whose cosignatures are checked, by name.
func (c *check) cosigners() (map[string][]cosigner, error) {
	out := map[string][]cosigner{}
	add := func(w statement.Witness, device *statement.Identity) {
		out[w.Name] = append(out[w.Name], cosigner{w, device})
	}
	for _, n := range c.trust.Witnesses.Named {
		w, err := statement.NewWitness(n.Name, n.Key.Key)
		if err != nil {
			return nil, err
		}
		add(w, nil)
	}
	if !c.trust.Witnesses.Devices {
		return out, nil
	}
	seen := map[statement.Hash]bool{}
	for _, e := range c.evidence {
		if e.s.Header.Kind != statement.KindIdentity {
			continue
		}
		id, err := e.s.Identity()
		if err != nil {
			return nil, err
		}
		if id.Role != statement.RoleDevice || seen[id.Key.ID()] {
			continue
		}
		w, err := statement.DeviceWitness(id.Key.Key)
		if errors.Is(err, statement.ErrNotEd25519) {
			continue
		} else if err != nil {
			return nil, err
		}
		seen[id.Key.ID()] = true
		add(w, id)
	}
	return out, nil
}

// cosignatures checks the lines of known keys on each ledger's newest checkpoint,
// and while no quorum was found on the older ones, the largest first: what a phone
// need not know it need not compute. Without witnesses in the trust file no line
// is looked at.
func (c *check) cosignatures() error {
	if c.trust.Witnesses == nil {
		return nil
	}
	known, err := c.cosigners()
	if err != nil {
		return refuse(CodeCosignature, "%w", err)
	}
	quorum := c.trust.Witnesses.Quorum
	c.v.Witnesses = &WitnessFacts{Quorum: quorum, Devices: c.trust.Witnesses.Devices, Ledgers: []WitnessedLedger{}}
	for i, l := range c.ledgers {
		of := WitnessedLedger{Origin: l.newest.Origin, Size: l.newest.Size}
		all := append(slices.Clone(l.older), l.newest)
		for n := len(all) - 1; n >= 0 && of.Reach == 0; n-- {
			by, err := c.cosigned(all[n], known)
			if err != nil {
				return refuse(CodeCosignature, "ledger %d: checkpoint of size %d: %w", i, all[n].Size, err)
			}
			if n == len(l.older) {
				of.Cosigned = by
			}
			if uint64(len(by)) >= quorum {
				of.Reach = all[n].Size
			}
		}
		c.v.Witnesses.Ledgers = append(c.v.Witnesses.Ledgers, of)
	}
	return nil
}

// cosigned are the distinct witnesses of a checkpoint that count.
func (c *check) cosigned(cp statement.Checkpoint, known map[string][]cosigner) ([]WitnessedBy, error) {
	by, counted, seen := []WitnessedBy{}, map[statement.Hash]bool{}, map[statement.Hash]bool{}
	for _, s := range cp.Cosignatures() {
		for _, w := range known[s.Name] {
			kid := w.Key.ID()
			if seen[kid] || !s.By(w.Witness) {
				continue
			}
			seen[kid] = true // one line a key, or a file of copies would cost minutes
			at, err := cp.VerifyCosignature(s, w.Witness)
			if err != nil {
				return nil, err
			}
			line, isDevice := c.lines[kid]
			if !isDevice {
				line = kid
			}
			if counted[line] || !c.counts(w, at*1000) {
				continue
			}
			counted[line] = true
			facts := WitnessedBy{Name: s.Name, KeyID: kid, Time: at * 1000}
			if w.device != nil {
				facts.Device, facts.Label, facts.Simulated = true, w.device.Name, w.device.Simulated
				if facts.Label == "" {
					facts.Label = w.device.Subject
				}
			}
			by = append(by, facts)
		}
	}
	return by, nil
}

// counts reports whether a key that cosigned at a time in ms is one to count.
func (c *check) counts(w cosigner, at int64) bool {
	for _, r := range c.revoked {
		if r.KeyID == w.Key.ID() {
			return false
		}
	}
	return w.device == nil || at >= w.device.From && at <= w.device.To
}
