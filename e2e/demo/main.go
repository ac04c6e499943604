// Command demo starts everything on this machine. With --hands-off it waits for
// one item's anchored passport, verifies it, shows what happens to a flipped
// byte, and ends.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"trailmark/e2e/stage"
	"trailmark/internal/command"
	"trailmark/internal/termqr"
	"trailmark/passport"
)

func main() { command.Main("demo", run) }

const intro = `demo starts a gateway, simulated hardware and three agents on this machine.

Example:

  demo --bin bin            until Ctrl-C
  demo --bin bin --hands-off
`

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	f := command.NewFlags("demo")
	bin := f.String("bin", "bin", "`folder` of the built binaries")
	handsOff := f.Bool("hands-off", false, "end after one item's passport was verified")
	lan := f.Bool("lan", false, "serve on this machine's network address, so that a phone can scan the code")
	logPath := f.String("log", "", "`file` for the logs of all parts (default: in the demonstration's folder)")
	if err := command.Parse(f, args, environ, "TRAILMARK_DEMO", intro, stdout); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "trailmark-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *logPath == "" {
		*logPath = filepath.Join(dir, "log")
	}
	logFile, err := os.Create(*logPath)
	if err != nil {
		return err
	}
	defer logFile.Close()

	o := stage.Options{Bin: *bin, Dir: filepath.Join(dir, "data"), HTTP: "127.0.0.1:8080", EST: "127.0.0.1:8443", MQTT: "127.0.0.1:8883",
		Every: time.Second, Seal: 5 * time.Second, Anchor: 10 * time.Second, Log: &locked{w: logFile},
		Sim: []string{"--lead", "10s", "--stay", "60s", "--travel", "15s"}}
	if *handsOff {
		o.HTTP, o.EST, o.MQTT = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		o.Seal, o.Anchor = 2*time.Second, 3*time.Second
		o.Sim = []string{"--lead", "6s", "--stay", "14s", "--travel", "4s", "--door", "2s"}
	}
	if *lan {
		ip, err := address()
		if err != nil {
			return err
		}
		o.HTTP = ip + ":8080"
	}
	fmt.Fprintln(stdout, "demo: starting gateway, simulated hardware and three agents")
	s, err := stage.Start(ctx, o)
	if err != nil {
		tail(stderr, *logPath)
		return err
	}
	defer s.Stop()
	announce(stdout, s, *logPath)
	told := make(chan error, 1)
	go func() { told <- s.Story(ctx, func(step string) { fmt.Fprintf(stdout, "demo: %s\n", step) }) }()
	if *handsOff {
		err := prove(ctx, s, told, dir, stdout)
		if err != nil {
			tail(stderr, *logPath)
		}
		return err
	}
	fmt.Fprintln(stdout, "\nCtrl-C stops everything.")
	for {
		select {
		case <-ctx.Done():
			fmt.Fprintln(stdout, "\ndemo: stopping")
			return nil
		case err := <-told:
			if err != nil && ctx.Err() == nil {
				fmt.Fprintf(stderr, "demo: the goods' papers stop here: %v\n", err)
			}
			told = nil
		case err := <-s.Died():
			tail(stderr, *logPath)
			return err
		}
	}
}

func announce(w io.Writer, s *stage.Stage, logPath string) {
	source := "the built-in cold-room model (simulated values)"
	if s.World.Temperature.File != "" {
		source = "a real logger's readings, " + filepath.Base(s.World.Temperature.File)
	}
	consumer := s.URL + s.World.Items[0].Link
	fmt.Fprintf(w, `demo: temperatures are %s
demo: devices are simulated and marked so; the pallet passes %s
demo: logs in %s

  status page   %s/
  consumer page %s
  (the consumer page has something to show once the first frames are anchored)

`, source, route(s), logPath, s.URL, consumer)
	if err := termqr.Write(w, consumer); err != nil {
		fmt.Fprintln(w, err)
	}
}

func route(s *stage.Stage) string {
	var names []string
	for _, z := range s.Zones {
		names = append(names, z.Name)
	}
	return strings.Join(names, " → ")
}

// verdict is what anchor verify --json says, as far as the demo reads it.
type verdict struct {
	Verified bool `json:"verified"`
	Legs     []struct {
		Zone string `json:"zone"`
	} `json:"legs"`
	Withheld  []json.RawMessage `json:"withheld"`
	Events    []json.RawMessage `json:"journey"`
	Conflicts []json.RawMessage `json:"conflicts"`
	Hidden    []json.RawMessage `json:"withheld_events"`
	Custody   []struct {
		Accepted bool `json:"accepted"`
	} `json:"custody"`
	Anchors []struct {
		Height uint64 `json:"height"`
	} `json:"anchors"`
	Statements int `json:"statements"`
	Ledgers    []struct {
		Size uint64 `json:"size"`
	} `json:"ledgers"`
	Bytes  int     `json:"bytes"`
	Millis float64 `json:"ms"`
}

// whole reports whether a passport shows the whole story: three zones with every
// measurement that is due, five events, two hand-overs that both sides signed.
func (v verdict) whole() bool {
	accepted := 0
	for _, c := range v.Custody {
		if c.Accepted {
			accepted++
		}
	}
	return len(v.Legs) == 3 && len(v.Withheld) == 0 && len(v.Events) == 5 && accepted == 2
}

// prove waits for a passport that shows the whole story, told without a hitch, and
// checks it as a stranger would.
func prove(ctx context.Context, s *stage.Stage, told <-chan error, dir string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 110*time.Second)
	defer cancel()
	item := s.World.Items[0].Link
	file := filepath.Join(dir, "item.passport")
	var v verdict
	for last := -1; !v.whole(); {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no passport with the whole story in time, only %d legs, %d withheld, %d events, custody %v: %w", len(v.Legs), len(v.Withheld), len(v.Events), v.Custody, ctx.Err())
		case err := <-told:
			if err != nil {
				return err
			}
			told = nil
			continue
		case err := <-s.Died():
			return err
		case <-time.After(500 * time.Millisecond):
		}
		code, data, err := s.Get(ctx, item, passport.MediaType)
		if err != nil || code != 200 {
			continue
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err
		}
		out, err := s.Run(ctx, "anchor", "verify", "--trust", s.Trust, "--json", file)
		if err != nil {
			return fmt.Errorf("a fresh passport does not verify: %w\n%s", err, out)
		}
		v = verdict{}
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			return err
		}
		if len(v.Legs) != last {
			last = len(v.Legs)
			fmt.Fprintf(w, "demo: the passport shows %d of 3 legs\n", last)
		}
	}
	if len(v.Conflicts)+len(v.Hidden) > 0 {
		return fmt.Errorf("the story contradicts itself or leaves events out: %s %s", v.Conflicts, v.Hidden)
	}
	figures, err := s.Figures(ctx)
	if err != nil {
		return err
	}

	fmt.Fprintf(w, "\n$ bin/anchor verify --trust trust.cbor item.passport\n")
	out, err := s.Run(ctx, "anchor", "verify", "--trust", s.Trust, file)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, out)

	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	at := len(data) / 2
	data[at] ^= 1
	flipped := filepath.Join(dir, "flipped.passport")
	if err := os.WriteFile(flipped, data, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(w, "$ bin/anchor verify --trust trust.cbor flipped.passport   # one bit of byte %d flipped\n", at)
	out, err = s.Run(ctx, "anchor", "verify", "--trust", s.Trust, flipped)
	if err == nil {
		return fmt.Errorf("a passport with byte %d flipped still verifies", at)
	}
	fmt.Fprintln(w, out)
	var height, size uint64
	for _, a := range v.Anchors {
		height = max(height, a.Height)
	}
	for _, l := range v.Ledgers {
		size = max(size, l.Size)
	}
	fmt.Fprintf(w, "demo: ok: %d readings, %d statements, ledger size %d, anchored at height %d, passport with %d legs, %d events and %d accepted hand-overs of %d bytes verified in %.1f ms\n",
		figures.Readings, figures.Statements, size, height, len(v.Legs), len(v.Events), len(v.Custody), v.Bytes, v.Millis)
	return nil
}

// address is this machine's address on its network.
func address() (string, error) {
	conn, err := net.Dial("udp", "192.0.2.1:9") // sends nothing; asks the routing table
	if err != nil {
		return "", fmt.Errorf("this machine has no network address: %w", err)
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return host, err
}

// tail shows the end of the log when something went wrong.
func tail(w io.Writer, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	fmt.Fprintln(w, strings.Join(lines[max(0, len(lines)-30):], "\n"))
}

// locked lets several children write whole lines to one file.
type locked struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
