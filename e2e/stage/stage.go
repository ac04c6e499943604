// Package stage starts the whole of Trailmark from its built binaries on
// loopback ports: a gateway, simulated hardware and one agent per zone. The
// demonstration and the end-to-end tests stand on it.
package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what to start.
type Options struct {
	Bin  string // folder of the built binaries
	Dir  string // folder for everything, emptied by the caller
	HTTP string // gateway addresses; port 0 takes a free one
	EST  string
	MQTT string
	Base string // public URL, "" for the gateway's own

	Chain string // comet://host:port of a consortium's member, "" for the gateway's own chain

	Every, Seal, Anchor time.Duration // sampling, frames, anchors
	Sim                 []string      // further flags of firmware-sim run
	Gateway             []string      // further flags of gateway run, read at each start

	Keys map[string]string // by zone: where its agent keeps its key; a file without

	Log io.Writer // where the children's logs go
}

// A Thing is a tagged item or pallet.
type Thing struct {
	EPC  string `json:"epc"`
	URI  string `json:"uri"`
	Link string `json:"link"` // Digital Link path
	TID  string `json:"tid"`  // of its chip
}

// World is what the simulator says first.
type World struct {
	Temperature struct {
		Source string `json:"source"`
		File   string `json:"file"`
	} `json:"temperature"`
	Pallet Thing   `json:"pallet"`
	Items  []Thing `json:"items"`
	Route  []struct {
		Zone  string    `json:"zone"`
		Enter time.Time `json:"enter"`
		Leave time.Time `json:"leave"`
	} `json:"route"`
}

// Zone is one zone's simulated hardware.
type Zone struct {
	Zone   string   `json:"zone"`
	Name   string   `json:"name"`
	W1     string   `json:"w1"`
	LLRP   string   `json:"llrp"`
	Probes []string `json:"probes"`
}

// A Stage is everything running.
type Stage struct {
	Options
	URL    string // of the gateway
	Broker string
	World  World
	Zones  []Zone
	Trust  string // trust file

	mu       sync.Mutex
	gateway  *child            // guarded by mu
	children map[string]*child // guarded by mu
	died     chan error
}

// Start starts everything and returns when the agents run. Stop ends it.
func Start(ctx context.Context, o Options) (*Stage, error) {
	s := &Stage{Options: o, children: map[string]*child{}, died: make(chan error, 16), Trust: filepath.Join(o.Dir, "authority", "trust.cbor")}
	if err := s.start(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Stage) start(ctx context.Context) error {
	if _, err := s.Run(ctx, "gateway", "init", "--dir", s.Dir, "--simulated"); err != nil {
		return err
	}
	if err := s.simulator(ctx); err != nil {
		return err
	}
	for _, gtin := range s.gtins() {
		if _, err := s.Run(ctx, "gateway", "product", "--dir", s.Dir, "--gtin", gtin, "--band", "2..8", "--allowed", "10s"); err != nil {
			return err
		}
	}
	if err := s.StartGateway(ctx); err != nil {
		return err
	}
	for _, z := range s.Zones {
		if err := s.agent(ctx, z); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stage) gtins() []string {
	seen := map[string]bool{}
	var out []string
	for _, it := range s.World.Items {
		if p := strings.Split(it.Link, "/"); len(p) > 2 && !seen[p[2]] {
			seen[p[2]] = true
			out = append(out, p[2])
		}
	}
	return out
}

// Run runs a command to its end and returns what it printed.
func (s *Stage) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, name), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// StartGateway starts the gateway, again after KillGateway: then on the same
// ports, as its devices know them.
func (s *Stage) StartGateway(ctx context.Context) error {
	args := []string{"run", "--dir", s.Dir, "--http", s.HTTP, "--est", s.EST, "--mqtt", s.MQTT, "--anchor-every", s.Anchor.String()}
	if s.Base != "" {
		args = append(args, "--base", s.Base)
	}
	if s.Chain != "" {
		args = append(args, "--chain", s.Chain)
	}
	c, err := s.spawn("gateway", append(args, s.Gateway...)...)
	if err != nil {
		return err
	}
	line, err := c.line(ctx, 60*time.Second)
	if err != nil {
		return fmt.Errorf("gateway did not start: %w", err)
	}
	var url, broker, est string
	if _, err := fmt.Sscanf(strings.ReplaceAll(line, ",", " "), "gateway: ready at %s broker %s enrolment %s", &url, &broker, &est); err != nil {
		return fmt.Errorf("gateway said %q", line)
	}
	s.URL, s.Broker = url, broker
	s.HTTP, s.MQTT, s.EST = strings.TrimPrefix(url, "http://"), strings.TrimPrefix(broker, "mqtts://"), strings.TrimPrefix(est, "https://")
	s.mu.Lock()
	s.gateway = c
	s.mu.Unlock()
	return nil
}

// KillGateway kills the gateway without warning.
func (s *Stage) KillGateway() error { return s.Kill("gateway") }

// Kill kills a child without warning and waits until it is gone.
func (s *Stage) Kill(name string) error {
	s.mu.Lock()
	c := s.children[name]
	s.mu.Unlock()
	if c == nil {
		return fmt.Errorf("no child %s", name)
	}
	c.expected.Store(true)
	if err := c.cmd.Process.Kill(); err != nil {
		return err
	}
	<-c.gone
	return nil
}

func (s *Stage) simulator(ctx context.Context) error {
	args := append([]string{"run", "--dir", filepath.Join(s.Dir, "sim"), "--llrp-base", "127.0.0.1:0"}, s.Sim...)
	c, err := s.spawn("firmware-sim", args...)
	if err != nil {
		return err
	}
	first, err := c.line(ctx, 10*time.Second)
	if err != nil {
		return fmt.Errorf("firmware-sim did not start: %w", err)
	}
	if err := json.Unmarshal([]byte(first), &s.World); err != nil {
		return fmt.Errorf("firmware-sim said %q: %w", first, err)
	}
	for range s.World.Route {
		line, err := c.line(ctx, 10*time.Second)
		if err != nil {
			return err
		}
		var z Zone
		if err := json.Unmarshal([]byte(line), &z); err != nil {
			return fmt.Errorf("firmware-sim said %q: %w", line, err)
		}
		s.Zones = append(s.Zones, z)
	}
	return nil
}

func (s *Stage) agent(ctx context.Context, z Zone) error {
	zh, en, _ := strings.Cut(z.Name, "/")
	claim, err := s.Run(ctx, "gateway", "claim", "--dir", s.Dir, "--zone", z.Zone, "--simulated",
		"--name", "zh-CN="+zh+",en="+en, "--band", "2..8", "--reread", "10s")
	if err != nil {
		return err
	}
	return s.StartAgent(z, strings.TrimSpace(claim))
}

// StartAgent starts a zone's agent; the claim matters the first time only.
func (s *Stage) StartAgent(z Zone, claim string) error {
	_, err := s.spawn("agent", s.AgentArgs(z, claim)...)
	return err
}

// AgentName is the name of a zone's agent among the children.
func AgentName(z Zone) string { return "agent " + z.Zone }

// AgentArgs are the arguments of a zone's agent.
func (s *Stage) AgentArgs(z Zone, claim string) []string {
	args := []string{"run", "--dir", filepath.Join(s.Dir, "agent-"+z.Zone), "--claim", claim,
		"--w1-root", z.W1, "--llrp", z.LLRP, "--every", s.Every.String(), "--seal", s.Seal.String(), "--simulated"}
	if key := s.Keys[z.Zone]; key != "" {
		args = append(args, "--key", key)
	}
	return args
}

// Died gives the error of a child that ended unasked.
func (s *Stage) Died() <-chan error { return s.died }

// Stop asks every child to end, agents first and the gateway last, and waits.
func (s *Stage) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, gateway := range []bool{false, true} {
		var wait []*child
		for name, c := range s.children {
			if (name == "gateway") == gateway {
				c.expected.Store(true)
				_ = c.cmd.Process.Signal(syscall.SIGTERM)
				wait = append(wait, c)
			}
		}
		for _, c := range wait {
			select {
			case <-c.gone:
			case <-time.After(10 * time.Second):
				_ = c.cmd.Process.Kill()
				<-c.gone
			}
		}
	}
}

// Get fetches a path of the gateway with an Accept header.
func (s *Stage) Get(ctx context.Context, path, accept string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 32<<20))
	return resp.StatusCode, body, err
}

// Figures are what the gateway counts.
type Figures struct {
	Readings   uint64            `json:"readings"`
	Statements uint64            `json:"statements"`
	LedgerSize uint64            `json:"ledger_size"`
	Anchored   uint64            `json:"anchored_size"`
	Height     int64             `json:"anchored_height"`
	Counters   map[string]uint64 `json:"counters"`
}

// Figures asks the gateway for its counts.
func (s *Stage) Figures(ctx context.Context) (f Figures, err error) {
	code, body, err := s.Get(ctx, "/api/figures", "application/json")
	if err != nil {
		return f, err
	}
	if code != http.StatusOK {
		return f, errors.New("figures: status " + strconv.Itoa(code))
	}
	return f, json.Unmarshal(body, &f)
}

func (s *Stage) spawn(binary string, args ...string) (*child, error) {
	name := binary
	if binary == "agent" {
		name = "agent " + strings.TrimPrefix(filepath.Base(args[2]), "agent-")
	}
	c, err := start(name, filepath.Join(s.Bin, binary), args, s.Log)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.children[name] = c
	s.mu.Unlock()
	go func() {
		<-c.gone
		if !c.expected.Load() {
			s.died <- fmt.Errorf("%s ended: %w", name, c.err)
		}
	}()
	return c, nil
}

// scan hands the lines of r to lines; the channel is closed at its end.
func scan(r io.Reader, lines chan<- string) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		select {
		case lines <- sc.Text():
		default: // nobody reads further lines
		}
	}
	close(lines)
}
