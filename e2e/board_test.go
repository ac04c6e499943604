package e2e

import (
	"database/sql"
	"encoding/hex"
	"fmt"
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
  damp: {constant: 62.5}
  sea-level: {constant: 101325}
i2c:
  - bus: 1
    chips:
      - {name: climate, model: bme280, address: 0x76, celsius: cold, humidity: damp, pascal: sea-level}
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
      - {offset: 25, name: GPIO25, high: true}
script:
  - {at: 6s, chip: climate, fault: brownout}
`

const settingsOfAColdStore = `claim: "%s"
dir: %s
every: 500ms
seal: 1s
i2c:
  - bus: "1"
    chips: [{chip: bme280, address: 0x76}]
mfrc522:
  - {port: SPI0.0, reset: GPIO25}
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
// it reaches through the kernel's own I2C, SPI and GPIO interfaces, and looks at
// what it signed.
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

	// Until the brown-out was told and measured past.
	var all []*statement.Delivery
	told := func() (uint64, bool) {
		seq, found := uint64(0), false
		for _, d := range all {
			for _, c := range d.Contents {
				if h, ok := c.(*statement.Happening); ok && h.Type == statement.Fault && !found {
					seq, found = d.Frame.Seq, true
				}
			}
		}
		return seq, found
	}
	eventually(t, 60*time.Second, "a fault and readings after it", func() bool {
		if a := readStatus(t, s, "store"); a.Key == "" {
			return false
		} else {
			all = frames(t, s.Dir, a.Key)
		}
		seq, found := told()
		return found && uint64(len(all)) > seq+3
	})
	want := map[string]float64{"temp": 4.5, "humidity": 62.5, "pressure": 101325}
	within := map[string]float64{"temp": 0.05, "humidity": 0.2, "pressure": 5}
	readings, columns, tags := map[string]int{}, 0, map[string]bool{}
	for _, d := range all {
		for _, c := range d.Contents {
			switch c := c.(type) {
			case *statement.Sighting:
				tags[hex.EncodeToString(c.EPC)] = true
			case *statement.Block:
				chip, quantity, _ := strings.Cut(c.Channel, "/")
				if !strings.HasPrefix(chip, "bme280-") {
					t.Fatalf("channel %s", c.Channel)
				}
				for _, v := range c.Values {
					readings[quantity]++
					if got := float64(v) / 1000; math.Abs(got-want[quantity]) > within[quantity] {
						t.Errorf("%s of %g in frame %d, the chip feels %g", quantity, got, d.Frame.Seq, want[quantity])
					}
				}
				if len(c.Raw) > 0 {
					columns++
				}
			}
		}
	}
	for q := range want {
		if readings[q] < 10 {
			t.Errorf("%d readings of %s", readings[q], q)
		}
	}
	if columns == 0 {
		t.Error("no block carries the chip's raw bytes")
	}
	if !tags["04a1b2c3d4e5f6"] || !tags["deadbeef"] {
		t.Errorf("tags read: %v, two were in the field", tags)
	}
	seq, _ := told()
	t.Logf("%v readings, brown-out told in frame %d of %d, tags %v", readings, seq, len(all), tags)
}
