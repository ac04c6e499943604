package e2e

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

const boardOfAColdStore = `name: cold-store
seed: 1
step: 1s
sources:
  cold: {constant: 4.5}
  shelf: {constant: 5.25}
  pallet: {constant: 3.25}
  damp: {constant: 62.5}
  sea-level: {constant: 101325}
i2c:
  - bus: 1
    chips:
      - {name: climate, model: bme280, address: 0x76, celsius: cold, humidity: damp, pascal: sea-level}
      - {name: shelf, model: sht4x, address: 0x44, serial: "0badcafe", celsius: shelf, humidity: damp}
      - name: bridge
        model: ds2482
        address: 0x18
        line:
          - {name: pallet, serial: "0000045a1b2c", celsius: pallet}
spi:
  - bus: 0
    select: 0
    name: reader
    model: mfrc522
    reset: GPIO25
    tags:
      - {name: box-1, model: ntag213, uid: "04a1b2c3d4e5f6", here: true}
      - {name: box-2, model: classic1k, uid: "deadbeef", here: true}
gpio:
  - chip: 0
    label: pinctrl-bcm2835
    count: 54
    lines:
      - {offset: 17, name: GPIO17}
      - {offset: 25, name: GPIO25, high: true}
serial:
  - name: ttyUSB0
    model: r200
    tags:
      - {name: crate, epc: "30750000000000000000ab01", tid: "e28011602000000000000001", here: true}
      - {name: late, epc: "30750000000000000000ab02", tid: "e28011602000000000000002"}
llrp:
  - name: dock
    listen: 127.0.93.7:5084
    antennas: 2
    tags:
      - {name: carton, epc: "311ba1b300ce0a6a83000000", tid: "e28011052000000000000001", antenna: 2, here: true}
script:
  - {at: 5s, line: GPIO17, level: high}
  - {at: 5s, tag: late, field: enter}
  - {at: 6s, chip: climate, fault: brownout}
  - {at: 7s, line: GPIO17, level: low}
`

const settingsOfAColdStore = `claim: "%s"
dir: %s
every: 500ms
seal: 1s
i2c:
  - bus: "1"
    chips: [{chip: bme280, address: 0x76}, {chip: sht4x}, {chip: ds2482}]
mfrc522:
  - {port: SPI0.0, reset: GPIO25}
r200:
  - {port: /dev/ttyUSB0, region: china-900, power: 20}
llrp:
  - {address: "127.0.93.7:5084", antennas: 2}
panel: {door: GPIO17}
`

// frames are the frames of one device that the gateway holds, in order.
func frames(t *testing.T, dir, key string) []*statement.Delivery {
	t.Helper()
	kid, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "gateway", "store.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT data, extra FROM statement WHERE kid = ? AND kind = 'frame' ORDER BY epoch, seq", kid)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []*statement.Delivery
	for rows.Next() {
		var data, extra []byte
		if err := rows.Scan(&data, &extra); err != nil {
			t.Fatal(err)
		}
		up := statement.Up{Version: 1, Statement: data}
		kept := struct {
			_      struct{} `cbor:",toarray"`
			Seed   [32]byte
			Bodies []statement.WireBody
		}{}
		if err := dcbor.Unmarshal(extra, &kept); err != nil {
			t.Fatal(err)
		}
		up.Seed, up.Bodies = kept.Seed, kept.Bodies
		d, err := statement.ParseUp(dcbor.MustMarshal(up)) // recomputes the signed root
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAgentOnAKernelBoard runs the agent's binary as it is on modelled chips that
// it reaches through the kernel's own I2C, SPI, GPIO, serial and network
// interfaces, and looks at what it signed.
func TestAgentOnAKernelBoard(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the board is shown in a mount namespace")
	}
	s := startStage(t, "--zones", "else=别处/Elsewhere", "--offsets", "100", "--lead", "1h")
	claim, err := s.Run(t.Context(), "gateway", "claim", "--dir", s.Dir, "--zone", "store", "--simulated",
		"--name", "zh-CN=冷库,en=Cold store", "--band", "2..8", "--reread", "10s")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	board := write("board.yaml", boardOfAColdStore)
	settings := write("agent.yaml", fmt.Sprintf(settingsOfAColdStore, strings.TrimSpace(claim), filepath.Join(s.Dir, "agent-store")))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "firmware-sim"), "run", board, "--", filepath.Join(bin, "agent"), "run", "--config", settings, "--simulated")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			t.Error("the board did not end")
		}
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("the board and its agent say:\n%s", text)
		}
	})

	// Until the brown-out was told and measured past, and the door was open and shut.
	var all []*statement.Delivery
	var found findings
	eventually(t, 60*time.Second, "a fault, a door that shuts and readings after them", func() bool {
		a := readStatus(t, s, "store")
		if a.Key == "" {
			return false
		}
		all = frames(t, s.Dir, a.Key)
		found = find(all)
		return found.fault > 0 && strings.HasSuffix(found.door, "open closed") && uint64(len(all)) > found.fault+3 && found.tags["r200-0/1 30750000000000000000ab02"] != ""
	})
	feels := map[string]struct{ value, within float64 }{
		"bme280 temp": {4.5, 0.05}, "bme280 humidity": {62.5, 0.2}, "bme280 pressure": {101325, 5},
		"sht4x temp": {5.25, 0.05}, "sht4x humidity": {62.5, 0.2}, "28 temp": {3.25, 0.0625},
	}
	for what, values := range found.values {
		want, known := feels[what]
		if !known {
			t.Errorf("%s: no chip measures that", what)
		}
		for _, v := range values {
			if math.Abs(v-want.value) > want.within {
				t.Errorf("%s of %g, the chip feels %g", what, v, want.value)
			}
		}
	}
	for what := range feels {
		if len(found.values[what]) < 10 {
			t.Errorf("%d readings of %s", len(found.values[what]), what)
		}
	}
	// A BME280's values depend on its factory trimming; those of the others are their bytes.
	if want := map[string]bool{"bme280": true, "sht4x": false, "28": false}; !maps.Equal(found.raw, want) {
		t.Errorf("chips with raw bytes in their blocks: %v, want %v", found.raw, want)
	}
	// Every tag at its antenna, with the identity of its chip where the reader asks for it.
	want := map[string]string{
		"mfrc522-0/1 04a1b2c3d4e5f6":        "",
		"mfrc522-0/1 deadbeef":              "",
		"r200-0/1 30750000000000000000ab01": "e28011602000000000000001",
		"r200-0/1 30750000000000000000ab02": "e28011602000000000000002",
		"llrp0/2 311ba1b300ce0a6a83000000":  "e28011052000000000000001",
	}
	if !maps.Equal(found.tags, want) {
		t.Errorf("tags read: %v, in the fields were %v", found.tags, want)
	}
	t.Logf("brown-out told in frame %d of %d, door %s, tags %v", found.fault, len(all), found.door, found.tags)
}

// findings are what frames say of a board.
type findings struct {
	values map[string][]float64 // by kind of chip and quantity
	raw    map[string]bool      // whether raw bytes are there, by kind of chip
	tags   map[string]string    // TID, or "" for none yet, by antenna and EPC
	door   string               // its states in order
	fault  uint64               // number of the first frame that tells of one, or 0
}

func find(all []*statement.Delivery) findings {
	f := findings{values: map[string][]float64{}, raw: map[string]bool{}, tags: map[string]string{}}
	for _, d := range all {
		for _, c := range d.Contents {
			switch c := c.(type) {
			case *statement.Happening:
				if c.Type == statement.Door {
					f.door = strings.TrimSpace(f.door + " " + c.Words)
				}
				if c.Type == statement.Fault && f.fault == 0 {
					f.fault = d.Frame.Seq
				}
			case *statement.Sighting:
				what := c.Antenna + " " + hex.EncodeToString(c.EPC)
				if f.tags[what] == "" {
					f.tags[what] = hex.EncodeToString(c.TID)
				}
			case *statement.Block:
				name, quantity, _ := strings.Cut(c.Channel, "/")
				chip, _, _ := strings.Cut(name, "-")
				for _, v := range c.Values {
					f.values[chip+" "+quantity] = append(f.values[chip+" "+quantity], float64(v)/1000)
				}
				f.raw[chip] = f.raw[chip] || len(c.Raw) > 0
			}
		}
	}
	return f
}
