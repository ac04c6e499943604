package statement

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
)

// ItemsRoot is a salted Merkle root over a list of items; of none the root is
// SHA-256 of nothing.
type ItemsRoot struct {
	_    struct{} `cbor:",toarray"`
	Root Hash
	Size uint64
}

// Check refuses a root of a size out of bounds, and any but the one of no items.
func (r ItemsRoot) Check() error {
	if r.Size > MaxUint || r.Size == 0 && r.Root != sha256.Sum256(nil) {
		return fmt.Errorf("root of %d items is not one of so many", r.Size)
	}
	return nil
}

// An ItemList says which list of an event an item is in: its key on the wire.
type ItemList uint64

// Lists of an event.
const (
	ListItems  ItemList = 6
	ListInputs ItemList = 7
)

// An Item is one object of an event's list.
type Item struct {
	Salt   [16]byte
	Object string
	Prev   Hash   // statement id of the object's previous event, zeros: first
	TID    []byte // of its tag, told when it is commissioned; nil: none
}

// MarshalCBOR writes an array of three, or of four with a TID.
func (x Item) MarshalCBOR() ([]byte, error) {
	n := 3
	if x.TID != nil {
		n = 4
	}
	b := dcbor.AppendBytes(dcbor.AppendArray(nil, n), x.Salt[:])
	b = dcbor.AppendBytes(dcbor.AppendText(b, x.Object), x.Prev[:])
	if x.TID != nil {
		b = dcbor.AppendBytes(b, x.TID)
	}
	return b, nil
}

// UnmarshalCBOR reads an array of three or four.
func (x *Item) UnmarshalCBOR(data []byte) error {
	var parts []cbor.RawMessage
	if err := dcbor.Unmarshal(data, &parts); err != nil {
		return err
	}
	if len(parts) < 3 || len(parts) > 4 {
		return fmt.Errorf("item of %d members, want 3 or 4", len(parts))
	}
	into := []any{&x.Salt, &x.Object, &x.Prev, &x.TID}
	for i, p := range parts {
		if err := dcbor.Unmarshal(p, into[i]); err != nil {
			return err
		}
	}
	return nil
}

// Check refuses an item out of bounds.
func (x *Item) Check() error {
	if x.Object == "" || !validText(x.Object) || x.TID != nil && (len(x.TID) < 4 || len(x.TID) > 64) {
		return errors.New("item out of bounds")
	}
	return nil
}

// ParseItem decodes the leaf of one item.
func ParseItem(leaf []byte) (*Item, error) {
	x := new(Item)
	if err := dcbor.Unmarshal(leaf, x); err != nil {
		return nil, fmt.Errorf("item: %w", err)
	}
	return x, x.Check()
}

// Items are the encoded leaves of an event's list, in its order. They are what
// is kept to show items later: the seed is not needed for that.
type Items [][]byte

// NewItems salts a list of an event, whose seed stays with who captured it.
func NewItems(seed [32]byte, list ItemList, items ...Item) (Items, error) {
	out := make(Items, len(items))
	for i, x := range items {
		x.Salt = itemSalt(seed, list, i)
		if err := x.Check(); err != nil {
			return nil, fmt.Errorf("%w: %q, number %d of %d", err, x.Object, i, len(items))
		}
		out[i] = dcbor.MustMarshal(x)
	}
	return out, nil
}

// Root is what the event signs.
func (x Items) Root() ItemsRoot { return ItemsRoot{Root: RecordsRoot(x), Size: uint64(len(x))} }

// Path is the RFC 9162 inclusion path of item i.
func (x Items) Path(i int) ([]Hash, error) {
	d, err := Disclose(x, i)
	return d.Path, err
}

func itemSalt(seed [32]byte, list ItemList, i int) [16]byte {
	info := binary.BigEndian.AppendUint32([]byte("trailmark item"), uint32(list))
	info = binary.BigEndian.AppendUint32(info, uint32(i))
	b, err := hkdf.Key(sha256.New, seed[:], nil, string(info), 16)
	if err != nil {
		panic(err) // 16 bytes of HKDF-SHA256 cannot fail
	}
	return [16]byte(b)
}
