package world

import (
	"crypto/sha256"
	"fmt"

	"trailmark/internal/epc"
)

// GS1 gives out no company prefix that starts with 952: it is for examples.
const (
	companyPrefix = "9521234"
	itemReference = "054321"
	firstSerial   = 1001
	filterItem    = 1 // point of sale trade item
	filterPallet  = 6 // unit load
)

// MaxItems is the most items on one pallet.
const MaxItems = 500

// A Pallet is what travels: one tag of its own and one on each item.
type Pallet struct {
	SSCC  epc.ID
	Items []epc.ID // one GTIN, serials from 1001
}

// NewPallet packs a pallet with 1 to MaxItems items.
func NewPallet(items int) (Pallet, error) {
	if items < 1 || items > MaxItems {
		return Pallet{}, fmt.Errorf("%d items on a pallet, want 1 to %d", items, MaxItems)
	}
	sscc, err := epc.SSCC96(companyPrefix, fmt.Sprintf("%010d", firstSerial), filterPallet)
	if err != nil {
		return Pallet{}, err
	}
	p := Pallet{SSCC: sscc}
	for i := range items {
		item, err := epc.SGTIN96(companyPrefix, itemReference, fmt.Sprint(firstSerial+i), filterItem)
		if err != nil {
			return Pallet{}, err
		}
		p.Items = append(p.Items, item)
	}
	return p, nil
}

// Stray returns a tag that is on no pallet: it hangs on goods that wait near a
// door and now and then answers the wrong reader.
func Stray() (epc.ID, error) {
	return epc.SGTIN96("9529876", "000777", "77", filterItem)
}

// TID is the number that a tag's chip has from its maker: an Impinj Monza R6's with
// a serial number of its own, the same in every run.
func TID(tag []byte) []byte {
	sum := sha256.Sum256(tag)
	return append([]byte{0xe2, 0x80, 0x11, 0x60, 0x20, 0x00}, sum[:6]...)
}
