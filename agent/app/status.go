package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"trailmark/agent/internal/keys"
	"trailmark/agent/internal/metrics"
	"trailmark/agent/internal/station"
	"trailmark/internal/device"
)

// status is the file that a running agent keeps up to date.
type status struct {
	Version   string    `json:"version"`
	Key       string    `json:"key"`
	KeyAt     string    `json:"key_at"` // its address
	Device    string    `json:"device"`
	Subject   string    `json:"subject"`
	Simulated bool      `json:"simulated"`
	Written   time.Time `json:"written"`
	PID       int       `json:"pid"`
	Clock     string    `json:"clock"`        // quality
	MaxError  uint64    `json:"max_error_ms"` // the kernel's bound, when synchronised
	CardBytes int64     `json:"card_bytes"`
	Budget    int64     `json:"card_budget_bytes"`
	Rotation  *rotation `json:"rotation,omitempty"`
	station.Status
	metrics.Snapshot
}

// rotation is a change of the key that is under way, or that came to nothing.
type rotation struct {
	ID     string `json:"id"`    // of the request; "": taken up from the card
	State  string `json:"state"` // in words
	Failed bool   `json:"failed"`
}

// words are a rotation for people.
func (r *rotation) words() string {
	if r.Failed {
		said, hint, _ := strings.Cut(r.State, "\nhint: ")
		return fmt.Sprintf("came to nothing, nothing has changed: %s (%s)", said, hint)
	}
	return "under way: " + r.State
}

// reporter keeps the status file, for "agent status" and "agent doctor".
type reporter struct {
	c    Config
	file string
	book *metrics.Book
	clk  station.Clock
	log  *slog.Logger

	mu        sync.Mutex // also held while the file is written: what is newer goes after
	enrolment *device.Enrolment
	keyAt     keys.Address
	station   station.Status
	heard     bool // station is of enrolment's
	rotation  *rotation
}

func newReporter(c Config, book *metrics.Book, clk station.Clock, log *slog.Logger) *reporter {
	file, err := statusFile(c.Dir)
	if err != nil {
		log.Warn("status goes to the data folder", slog.Any("err", err))
		file = filepath.Join(c.Dir, statusName)
	}
	return &reporter{c: c, file: file, book: book, clk: clk, log: log}
}

// serves says whose status it is from now on.
func (r *reporter) serves(t *tenure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enrolment, r.keyAt, r.heard = t.enrolment, t.where, false
}

// hear takes what the station says of itself.
func (r *reporter) hear(s station.Status) {
	r.book.Station(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.station, r.heard = s, true
	r.write()
}

// rotates says how far a rotation is; nil: it is over.
func (r *reporter) rotates(to *rotation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rotation = to
	if to != nil {
		r.log.Info("rotation of the key", slog.String("state", to.State), slog.Bool("failed", to.Failed))
	}
	if r.heard {
		r.write()
	}
}

// keptUp reports that the ledger has nearly every frame: that a hand-over can begin,
// as far as can be told from here.
func (r *reporter) keptUp() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard && r.station.Connected && r.station.Next <= r.station.Receipted+station.Behind
}

// handedOver reports that the station has put the last frame of its epoch on the card.
func (r *reporter) handedOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard && r.station.HandedOver
}

// write is called with mu held.
func (r *reporter) write() {
	id, now := r.enrolment.Identity, r.clk.Now()
	b, err := json.MarshalIndent(status{Version: Version(), Key: id.Key.ID().String(), KeyAt: r.keyAt.String(), Device: id.Name, Subject: id.Subject,
		Simulated: id.Simulated, Written: time.Now().UTC().Truncate(time.Second), PID: os.Getpid(),
		Clock: now.Quality.String(), MaxError: now.MaxErrorMS, CardBytes: cardBytes(r.c.Dir), Budget: int64(r.c.Card),
		Rotation: r.rotation, Status: r.station, Snapshot: r.book.Snapshot()}, "", "  ")
	if err == nil {
		err = replaceFile(r.file, b, false) // news, not evidence: no sync for it
	}
	if err != nil {
		r.log.Warn("status not written", slog.Any("err", err))
	}
}

// statusFile is where the status goes: into memory where systemd gives a runtime
// directory, with a link in the data folder. On a card each replacement would cost
// 20 to 40 kB of metadata, for something that is no evidence.
func statusFile(dir string) (string, error) {
	name, run := filepath.Join(dir, statusName), os.Getenv("RUNTIME_DIRECTORY")
	if run == "" {
		return name, nil
	}
	file := filepath.Join(run, statusName)
	if old, err := os.Readlink(name); err == nil && old == file {
		return file, nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return file, os.Symlink(file, name)
}

// readStatus is what the agent of a data folder said last.
func readStatus(dir string) (s status, err error) {
	name := filepath.Join(dir, statusName)
	b, err := readFile(name, 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return s, fmt.Errorf("no agent has run on %s: %w\nhint: name its data folder with --dir", dir, err)
	} else if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Status prints what the agent of a data folder said last, on one screen.
func Status(dir string, w io.Writer) error {
	s, err := readStatus(dir)
	if err != nil {
		return err
	}
	now := time.Now()
	name := s.Device
	if s.Simulated {
		name += " (simulated)"
	}
	checkpoint := "none verified yet"
	if s.Size > 0 {
		checkpoint = fmt.Sprintf("%d entries, root %s", s.Size, s.Root)
	}
	running := "yes, process " + strconv.Itoa(s.PID)
	if !held(dir) {
		running = "NO: what follows is old"
	}
	plan := "none yet"
	if s.Planned {
		plan = fmt.Sprintf("number %d", s.PlanSeq)
	}
	clockSays := s.Clock
	if s.MaxError > 0 {
		clockSays += fmt.Sprintf(", off by at most %d ms", s.MaxError)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("device", "%s", name)
	row("subject", "%s", s.Subject)
	row("key", "%s, at %s", s.Key, s.KeyAt)
	row("version", "%s", s.Version)
	row("running", "%s", running)
	row("said", "%s (%s)", s.Written.Format(time.RFC3339), ago(now, s.Written))
	row("clock", "%s", clockSays)
	row("connected", "%s", yes(s.Connected))
	row("epoch", "%d", s.Epoch)
	row("next seq", "%d", s.Next)
	row("without receipt", "%d frames", s.Next-min(s.Receipted, s.Next))
	row("last receipt", "%s", ago(now, s.ReceiptAt))
	row("checkpoint", "%s", checkpoint)
	row("witness", "%s", witnessing(s.Status))
	row("plan", "%s", plan)
	row("limits passed", "%d", s.Beyond)
	row("card", "%s of %s", mega(s.CardBytes), mega(s.Budget))
	row("lost on card", "%d frames", s.LostFrames)
	row("card full", "%s", yes(s.CardFull))
	for _, p := range s.Probes {
		row("probe", "%s  %s (%s)", p.Channel, said(p), ago(now, p.At))
	}
	for _, r := range s.Readers {
		state := "up"
		if !r.Up {
			state = "DOWN"
		}
		row("reader", "%s  %s: %s (%s), %d reads", r.Name, state, r.Why, ago(now, r.Since), r.Reads)
	}
	if s.Rotation != nil {
		row("rotation", "%s", s.Rotation.words())
	}
	if s.Alarm {
		row("ALARM", "someone else signed under this device's numbers")
	}
	if s.Accused != "" {
		row("ALARM", "the ledger contradicts itself, evidence in %s", filepath.Join(dir, s.Accused))
	}
	return t.Flush()
}

// witnessing says whether the device cosigns the ledger's checkpoints.
func witnessing(s station.Status) string {
	switch {
	case s.NoWitness != "":
		return "verifies and does not cosign: " + s.NoWitness
	case s.Cosigned == 0:
		return "cosigns, none yet"
	}
	return fmt.Sprintf("cosigned up to %d entries", s.Cosigned)
}

// said is a probe's last answer. A fault is never a number.
func said(p metrics.Probe) string {
	switch {
	case p.Fault != "":
		return "FAULT " + p.Fault
	case p.Milli == nil:
		return "has not answered yet"
	}
	return strconv.FormatFloat(float64(*p.Milli)/1000, 'f', -1, 64) + " " + p.Unit
}

// inBrief is the agent in one line, for systemctl status.
func inBrief(s metrics.Snapshot) string {
	if !s.Heard {
		return "waiting for the gateway to enrol this device"
	}
	faults := 0
	for _, p := range s.Probes {
		if p.Fault != "" {
			faults++
		}
	}
	st := s.Station
	return fmt.Sprintf("connected: %s, %d frames without receipt, %d of %d probes at fault, %d limits passed",
		yes(st.Connected), st.Next-min(st.Receipted, st.Next), faults, len(s.Probes), st.Beyond)
}

func ago(now, t time.Time) string {
	if t.IsZero() {
		return "not since the start"
	}
	return max(0, now.Sub(t)).Round(time.Second).String() + " ago"
}

func mega(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
