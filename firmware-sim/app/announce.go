package app

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"time"

	"trailmark/firmware-sim/internal/world"
	"trailmark/internal/epc"
)

// WorldLine is the first line Run prints, as one JSON object.
type WorldLine struct {
	Kind        string      `json:"kind"` // "world"
	Seed        uint64      `json:"seed"`
	Start       time.Time   `json:"start"`
	Temperature Temperature `json:"temperature"`
	Pallet      Thing       `json:"pallet"`
	Items       []Thing     `json:"items"`
	Stray       Thing       `json:"stray"`
	Route       []Stay      `json:"route"`
}

// Temperature says where the values come from.
type Temperature struct {
	Source  string `json:"source"`         // "replay" or "model"
	File    string `json:"file,omitempty"` // of a replay
	Samples int    `json:"samples"`        // after so many steps they repeat
	Step    string `json:"step"`           // one value lasts this long
}

// Thing is one tag: its EPC in three spellings, and its chip.
type Thing struct {
	EPC  string `json:"epc"`  // memory of the tag, hexadecimal
	URI  string `json:"uri"`  // pure identity
	Link string `json:"link"` // path of its GS1 Digital Link
	TID  string `json:"tid"`  // that its chip's maker burnt in, hexadecimal
}

// Stay is one stage of the route on the clock.
type Stay struct {
	Zone  string    `json:"zone"`
	Enter time.Time `json:"enter"`
	Leave time.Time `json:"leave"`
}

// ZoneLine follows for each zone, in the order of the route. When it is printed
// the files can be read and the reader accepts connections.
type ZoneLine struct {
	Kind    string   `json:"kind"` // "zone"
	Zone    string   `json:"zone"`
	Name    string   `json:"name"`
	W1      string   `json:"w1"`      // stands for /sys/bus/w1/devices, absolute
	Control string   `json:"control"` // write "1 gone" into this file to break probe 1; absolute
	LLRP    string   `json:"llrp"`    // host:port
	Probes  []string `json:"probes"`  // names of the chips; probe 1 first
}

func newThing(id epc.ID) (Thing, error) {
	b, err := id.Encode()
	return Thing{EPC: hex.EncodeToString(b), URI: id.URI(), Link: id.Link().Path(), TID: hex.EncodeToString(world.TID(b))}, err
}

func printLine(w io.Writer, line any) error {
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
