// Package station is what one device does: it samples its probes and hears its
// readers, seals a frame at a time, keeps it on the card, sends it, and lets go
// of it once the ledger's receipt has been verified.
//
// It promises that a frame is on the card before anyone else sees it, that a
// number is never signed twice, that what a probe got wrong is told as a fault
// and never as a reading, and that nothing leaves the card but for a verified
// receipt. One goroutine, that of Run, owns all state; probes, readers and the
// uplink only hand it things.
package station

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/outbox"
	"trailmark/agent/internal/panel"
	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/sensor"
	"trailmark/internal/device"
	"trailmark/statement"
)

// An Uplink is a lossy pipe to the gateway.
type Uplink interface {
	// Publish queues data behind what was queued before, without waiting for the
	// network; an error says that it was not queued. Nothing is durable and
	// nothing is known to have arrived when it returns nil.
	Publish(ctx context.Context, data []byte) error
	// Down gives what the gateway sends, in order. Messages may be lost.
	Down() <-chan []byte
	// Connected tells when a connection is made (true) or lost (false). What was
	// published before a true may be gone.
	Connected() <-chan bool
	// Reset gives the connection up and makes a new one.
	Reset()
}

// A Clock gives the device's time. It is safe for concurrent use.
type Clock interface {
	Now() clock.Reading
}

// A Reader is an RFID reader and the name that its antennas have here.
type Reader struct {
	Name string // antenna 2 of "llrp0" is "llrp0/2"
	// Open makes the reader; it calls status when the reader is found or lost.
	Open func(status func(up bool, why string)) (rfid.Reader, error)
}

// A Panel is what people at the device see, hear and touch.
type Panel interface {
	// Show puts a signal on the panel. It does not block.
	Show(panel.Signal)
	// Run hands every change of an input to each until ctx ends.
	Run(ctx context.Context, each func(panel.Input))
}

// Config says who this device is, whom it trusts, and how often it acts.
type Config struct {
	Key       statement.Hash // id of our key
	Epoch     uint64         // that our identity opens
	Audience  string
	Authority statement.Key // pinned at enrolment
	Origin    string        // of the ledger
	LogKey    statement.Key // pinned at enrolment

	Every     time.Duration // between two readings of a probe
	SealEvery time.Duration // between two frames
	Dwell     time.Duration // a tag unseen for longer has left and come back
	Stall     time.Duration // without any receipt before the connection is made anew

	Antennas map[string]Antenna // by name; one that is not here takes every read
	Portals  []Portal
}

// Parts are what a Station is made of. Panel, Witness, Plans, Opening, Before, Ready,
// Log, Report and Beat may be nil.
type Parts struct {
	Sealer  *device.Sealer
	Outbox  *outbox.Log
	Clock   Clock
	Uplink  Uplink
	Probes  []sensor.Probe
	Readers []Reader
	Panel   Panel
	Witness Witness        // nil: the device checks checkpoints and cosigns none
	Plans   []*device.Plan // verified ones to choose from at the start
	// Opening is needed for an outbox that holds no frame of an epoch above 0 yet:
	// see HandOver.
	Opening *device.State
	// Before is the station of the epoch before, in this process; its Run ended
	// with ErrHandedOver. What it observed since the hand-over is signed here.
	Before *Station
	// Ready reports that the next epoch can begin; Run's goroutine asks it. Once its
	// own epoch is handed over, Run observes until then, for the next Before.
	Ready func() bool
	// SavePlan keeps a plan-down message. When it returns nil the message survives
	// loss of power.
	SavePlan func(message []byte) error
	Log      *slog.Logger
	Report   func(Status) // hears of changes, from the goroutine of Run
	Beat     func()       // the same goroutine calls it each second: its loop turns
}

// Status is what the device would tell its owner.
type Status struct {
	Epoch      uint64 `json:"epoch"`
	Next       uint64 `json:"next_seq"`
	Receipted  uint64 `json:"receipted"` // frames below are in the ledger
	Connected  bool   `json:"connected"`
	Size       uint64 `json:"checkpoint_size"` // of the newest verified; 0: none
	Root       string `json:"checkpoint_root"` // hex
	Alarm      bool   `json:"alarm"`           // someone else signed under our seq
	HandedOver bool   `json:"handed_over"`     // the last frame of the epoch is on the card
	Beyond     int    `json:"beyond"`          // limits that are passed
	CardFull   bool   `json:"card_full"`
	LostFrames uint64 `json:"lost_frames"`          // damaged on the card
	Planned    bool   `json:"planned"`              // a plan is in force
	PlanSeq    uint64 `json:"plan_seq"`             // its number
	Cosigned   uint64 `json:"cosigned_size"`        // of the newest checkpoint that it cosigned; 0: none
	NoWitness  string `json:"no_witness,omitempty"` // why it cosigns none
	Accused    string `json:"evidence,omitempty"`   // file with two heads of the ledger that contradict each other
}

// Station is one device. Run is called once.
type Station struct {
	c   Config
	p   Parts
	log *slog.Logger

	inbox chan func()                   // from probes and readers to Run
	pace  map[string]chan time.Duration // by channel: from Run to who samples it

	// What follows belongs to the goroutine of Run (before: to New's caller).
	st       device.State // as of the newest frame on the card, and what was learned since
	plan     *device.Plan
	pending  pending
	restart  bool             // the next frame ends every trace
	gone     map[string]bool  // probes and readers that do not answer
	near     map[string]int64 // tags and when they were read last, ns since boot
	unsaved  *unsaved         // sealed, but the card has not taken it yet
	dropped  uint64           // observations lost since there is no room for them
	sealed   time.Time
	window   window
	roots    roots
	changed  bool // since the last Report
	tampered map[string]bool
	stays    map[tag]*stay         // at antennas that ask for more than one read
	passages map[crossing]*passage // not over yet
	alarms   []*alarm
	raised   uint64         // alarms of all kinds so far, for the panel
	urgent   bool           // what is pending is sealed at once
	handing  statement.Hash // key that the next frame hands over to

	checkedNote []byte   // of st.Checked, if at hand
	cosigned    cosigned // the newest
}

// unsaved is a frame that must be kept before any other is sealed.
type unsaved struct {
	seq    uint64
	record []byte
	next   device.State
	told   bool // that the card does not take it
}

// New takes up where the outbox ends. It refuses to when the newest frame on the
// card is damaged: which numbers were used up is unknown then.
func New(c Config, p Parts) (*Station, error) {
	if c.Every <= 0 || c.SealEvery <= 0 {
		return nil, fmt.Errorf("reading every %v and sealing every %v: both must be above 0", c.Every, c.SealEvery)
	}
	if c.Dwell <= 0 {
		c.Dwell = 10 * time.Second
	}
	if c.Stall <= 0 {
		c.Stall = 30 * time.Second
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	if p.Report == nil {
		p.Report = func(Status) {}
	}
	if p.Beat == nil {
		p.Beat = func() {}
	}
	if p.Ready == nil {
		p.Ready = func() bool { return true }
	}
	s := &Station{c: c, p: p, log: p.Log, inbox: make(chan func()), pace: map[string]chan time.Duration{},
		gone: map[string]bool{}, near: map[string]int64{}, tampered: map[string]bool{}, stays: map[tag]*stay{}, passages: map[crossing]*passage{}, changed: true}
	for _, p := range p.Probes {
		s.pace[p.Channel()] = make(chan time.Duration, 1)
	}
	s.pending.reset()
	if err := s.load(); err != nil {
		return nil, err
	}
	s.window.start(s.st.Receipted, c.Stall)
	s.roots.add(s.st.Checked)
	s.recall()
	now := p.Clock.Now()
	if p.Before != nil {
		s.inherit(p.Before)
	} else {
		s.booted(now)
		s.resume(now.Boottime)
	}
	s.introduce(now)
	s.declareLost()
	s.choosePlan()
	return s, nil
}

// load reads the state behind the newest frame.
func (s *Station) load() error {
	for _, d := range s.p.Outbox.Damage() {
		if d.Tail {
			return fmt.Errorf("the newest frame on the card is damaged (%s at %d: %s), so signing on could use a number twice\n"+
				"hint: move the data folder away, keep it as evidence, and start with a new claim code", d.Segment, d.Offset, d.Reason)
		}
	}
	seq, data, ok := s.p.Outbox.Last()
	if !ok {
		if next := s.p.Outbox.Next(); next != 0 {
			return fmt.Errorf("the card expects frame %d but holds none to go on from\nhint: start with a new data folder and a new claim code", next)
		}
		return s.begin()
	}
	r, err := device.ParseRecord(data)
	if err != nil {
		return fmt.Errorf("frame %d: %w", seq, err)
	}
	if s.st, err = device.ParseState(r.State); err != nil {
		return fmt.Errorf("frame %d: %w", seq, err)
	}
	stmt, err := r.Statement()
	if err != nil {
		return fmt.Errorf("frame %d: %w", seq, err)
	}
	if stmt.Header.KeyID != s.c.Key || s.st.Epoch != s.c.Epoch || s.st.Next != seq+1 || s.st.Prev != stmt.ID() {
		return fmt.Errorf("frame %d on the card is of key %.8s… in epoch %d, we are %.8s… in epoch %d\n"+
			"hint: the data folder holds the frames of another enrolment; start with an empty one", seq, stmt.Header.KeyID, s.st.Epoch, s.c.Key, s.c.Epoch)
	}
	return nil
}

// booted tells of the start, and ends the traces of a boot whose clock may lag
// behind what was signed already.
func (s *Station) booted(now clock.Reading) {
	words := "agent started"
	if now.BootID != s.st.Clock.BootID {
		words = "device booted"
		if s.st.Next > 0 && now.Quality < clock.RTC {
			s.restart = true
		}
	}
	s.pending.happen(now.Boottime, statement.Happening{Type: statement.Boot, Count: min(now.BootCount, 1<<32-1), Words: words})
}

// introduce tells which chip is behind each channel, and the factory trimming
// that its values are computed with: a trimming that changes is another chip.
func (s *Station) introduce(now clock.Reading) {
	for _, p := range s.p.Probes {
		h := statement.Happening{Type: statement.Configured, Subject: p.Channel(), Words: clip("probe " + p.Serial())}
		if c, ok := p.(sensor.Calibrated); ok {
			if sum := c.Calibration(); sum != [32]byte{} {
				h.Raw, h.Words = sum[:], clip(fmt.Sprintf("probe %s, factory trimming %x", p.Serial(), sum))
			}
		}
		s.pending.happen(now.Boottime, h)
	}
}

// declareLost signs which frames the card lost before the ledger had them, again
// at every start until it has the declaration.
func (s *Station) declareLost() {
	var from, to uint64
	var why string
	for _, d := range s.p.Outbox.Damage() {
		switch {
		case d.From == d.To:
			s.log.Info("a write was cut short and will be made again", slog.Uint64("seq", d.From), slog.String("segment", d.Segment))
		case d.From == to && from < to: // one gap, however it came about
			to = d.To
		default:
			s.lose(from, to, why)
			from, to, why = d.From, d.To, d.Reason
		}
	}
	s.lose(from, to, why)
}

// lose declares frames from <= seq < to, save those that have a receipt.
func (s *Station) lose(from, to uint64, why string) {
	if from >= to {
		return
	}
	s.log.Error("card lost frames", slog.Uint64("from", from), slog.Uint64("to", to-1),
		slog.Uint64("receipted_below", s.st.Receipted), slog.String("why", why))
	if from = max(from, s.st.Receipted); from >= to {
		return
	}
	s.window.lost = append(s.window.lost, [2]uint64{from, to})
	s.restart, s.pending.declares = true, true
	s.pending.happen(s.p.Clock.Now().Boottime,
		statement.Happening{Type: statement.Gap, Seqs: &[2]uint64{from, to - 1}, Words: clip(why)})
}

// Run samples, seals and sends until ctx ends, then seals what it has and tries
// for two seconds to hand everything over. Its error is ErrHandedOver when the
// epoch is over, or one that only a restart or a human can mend.
func (s *Station) Run(ctx context.Context) error {
	pctx, stop := context.WithCancel(ctx)
	defer stop()
	var producers sync.WaitGroup
	for _, p := range s.p.Probes {
		producers.Go(func() { s.sampling(pctx, p, s.pace[p.Channel()]) })
	}
	for _, r := range s.p.Readers {
		producers.Go(func() { s.reading(pctx, r) })
	}
	if s.p.Panel != nil {
		producers.Go(func() { s.watching(pctx) })
	}
	err := s.loop(ctx)
	stop()
	producers.Wait()
	if err == nil {
		err = s.finish(context.WithoutCancel(ctx))
	}
	switch {
	case err != nil || s.st.Successor.IsZero():
	case s.handedOver() && s.p.Ready():
		err = ErrHandedOver // at the last moment: the next epoch signs what is left
	case !s.pending.empty():
		s.log.Warn("stopped between two epochs: what was observed since the hand-over is lost", slog.Int("records", s.pending.records))
	}
	s.report()
	return err
}

// Pauses of the station's own housekeeping.
const (
	beat     = time.Second
	quietest = time.Hour // a frame at least so often, even with nothing to say
	parting  = 2 * time.Second
)

func (s *Station) loop(ctx context.Context) error {
	s.sealed = time.Now()
	seal, tick := time.NewTicker(s.c.SealEvery), time.NewTicker(beat)
	defer seal.Stop()
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case observed := <-s.inbox:
			observed()
			if s.sealDue() {
				err = s.seal(ctx)
			}
		case data := <-s.p.Uplink.Down():
			s.down(ctx, data)
		case up := <-s.p.Uplink.Connected():
			s.connected(ctx, up)
		case <-seal.C:
			if !s.pending.empty() || time.Since(s.sealed) >= quietest {
				err = s.seal(ctx)
			}
		case <-tick.C:
			err = s.tick(ctx)
		}
		if err != nil {
			return err
		}
		if s.handedOver() && s.p.Ready() {
			return ErrHandedOver
		}
	}
}

func (s *Station) tick(ctx context.Context) error {
	s.p.Beat()
	if s.unsaved != nil {
		if err := s.save(ctx); err != nil {
			return err
		}
	}
	s.unmeasured()
	s.departed()
	if s.sealDue() {
		if err := s.seal(ctx); err != nil {
			return err
		}
	}
	s.pump(ctx)
	s.mend()
	s.showPanel()
	if s.changed {
		s.report()
	}
	return nil
}

// finish seals what there is and waits a moment for receipts.
func (s *Station) finish(ctx context.Context) error {
	for more := true; more; {
		s.endStays(func(*stay) bool { return true })
		s.endPassages(func(*passage) bool { return true })
		more = s.pending.full()
		if !s.pending.empty() {
			if err := s.seal(ctx); err != nil {
				return err
			}
		}
		more = more && !s.pending.full() // else no frame can be made any more
	}
	end := time.NewTimer(parting)
	defer end.Stop()
	for s.window.online && s.window.low < s.st.Next {
		select {
		case data := <-s.p.Uplink.Down():
			s.down(ctx, data)
		case up := <-s.p.Uplink.Connected():
			s.connected(ctx, up)
		case <-end.C:
			return nil
		}
	}
	return nil
}

func (s *Station) report() {
	s.changed = false
	s.showPanel()
	var lost uint64
	for _, d := range s.p.Outbox.Damage() {
		lost += d.To - d.From
	}
	s.p.Report(Status{Epoch: s.st.Epoch, Next: s.st.Next, Receipted: s.st.Receipted, Connected: s.window.online,
		Size: s.st.Checked.Size, Root: s.st.Checked.Root.String(), Alarm: s.st.Alarm, HandedOver: !s.st.Successor.IsZero(), Beyond: len(s.alarms), CardFull: s.unsaved != nil, LostFrames: lost,
		Planned: s.plan != nil, PlanSeq: s.st.PlanSeq, Cosigned: s.cosigned.head.Size, NoWitness: s.noWitness(), Accused: s.accused()})
}

func (s *Station) accused() string {
	if s.p.Witness == nil {
		return ""
	}
	return s.p.Witness.Accused()
}

// post hands f to Run's goroutine; false: there is none any more.
func (s *Station) post(ctx context.Context, f func()) bool {
	select {
	case s.inbox <- f:
		return true
	case <-ctx.Done():
		return false
	}
}

// hung is how long a probe may take before it counts as gone: much longer than a
// bus full of the slowest chips needs.
const hung = time.Minute

// sampling reads one probe each period, as long as pace says from the next one
// on. A slow probe delays nobody else.
func (s *Station) sampling(ctx context.Context, p sensor.Probe, pace <-chan time.Duration) {
	t := time.NewTicker(s.c.Every)
	defer t.Stop()
	for {
		sctx, cancel := context.WithTimeout(ctx, hung)
		x := p.Sample(sctx)
		cancel()
		at := s.p.Clock.Now().Boottime
		if ctx.Err() != nil || !s.post(ctx, func() { s.sampled(at, p.Channel(), x) }) {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-t.C:
				waiting = false
			case every := <-pace:
				t.Reset(every)
			case <-ctx.Done():
				return
			}
		}
	}
}

// watching signs what the panel's inputs say.
func (s *Station) watching(ctx context.Context) {
	s.p.Panel.Run(ctx, func(i panel.Input) {
		at := s.p.Clock.Now().Boottime
		s.post(ctx, func() { s.input(at, i) })
	})
}

// input takes a new state of the door or of the power.
func (s *Station) input(at int64, i panel.Input) {
	var code uint64
	if i.On {
		code = 1
	}
	h := statement.Happening{Type: statement.Door, Code: &code, Words: [...]string{"closed", "open"}[code]}
	if i.Kind == panel.Mains {
		h.Type, h.Words = statement.Power, [...]string{"on battery", "on mains"}[code]
	}
	s.log.Info("panel", slog.String("what", h.Words))
	if s.room() {
		s.pending.happen(at, h)
	}
}

// reading runs one RFID reader.
func (s *Station) reading(ctx context.Context, r Reader) {
	status := func(up bool, why string) {
		at := s.p.Clock.Now().Boottime
		s.post(ctx, func() { s.presence(at, r.Name, up, why) })
	}
	reader, err := r.Open(status)
	if err == nil {
		err = reader.Run(ctx, func(x rfid.Read) {
			at := s.p.Clock.Now().Boottime
			s.post(ctx, func() { s.saw(at, fmt.Sprintf("%s/%d", r.Name, x.Antenna), x) })
		})
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("reader ended", slog.String("reader", r.Name), slog.Any("err", err))
		status(false, err.Error())
	}
}

// fatal reports card errors after which only reopening the outbox helps.
func fatal(err error) bool {
	return errors.Is(err, outbox.ErrBroken) || errors.Is(err, outbox.ErrClosed) || errors.Is(err, outbox.ErrSequence)
}
