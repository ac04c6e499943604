package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

// Status is what the gateway knows of itself. Times are Unix ms, 0 for never;
// values are thousandths of their unit.
type Status struct {
	Now     int64    // by the gateway's clock
	Alarms  []Alarm  // that somebody still has to do something about, newest first
	Parked  []Target // that cannot be told of alarms
	Windows []Window // maintenance, open or to come
	Zones   []Zone
	Devices []Device
	Ingest  map[string]uint64 // "accepted", "repeated", "waiting" and each reason of refusal -> messages since start
	Forks   []Fork
	Ledger  Ledger
	Anchors []Anchor
	Broker  Broker
	Items   []Item // seen, newest first
}

// Zone is a zone of the newest plan.
type Zone struct {
	ID       string
	Name     statement.Texts
	Site     statement.Texts
	Channels []Channel
}

// Channel is a channel that the plan lists, with the newest reading of it.
type Channel struct {
	Device    statement.Hash
	Name      string
	Unit      string // SenML
	Closeness statement.Closeness
	Nominal   int64 // ms between readings
	Limits    []trace.Limit
	At        int64  // of the newest reading, by the device's clock; 0: none yet
	Value     int64  // of that reading
	Min, Max  *int64 // of the present trace, nil: none
}

// Device is an enrolled device.
type Device struct {
	KeyID       statement.Hash
	Name        string
	Issuer      string // who it speaks as
	Simulated   bool
	Epoch       uint64
	Seq         uint64 // of the newest frame
	Received    int64  // when that frame came in, by the gateway's clock; 0: none yet
	Clock       statement.Quality
	MaxError    uint64    // of its clock, by its own word, ms
	Unreceipted uint64    // frames that no published checkpoint covers yet
	Waiting     uint64    // frames that wait for earlier ones
	Missing     [2]uint64 // what they wait for, if any do: from and to seq
}

// Fork is a second statement for one seq of a device.
type Fork struct {
	KeyID      statement.Hash
	Epoch, Seq uint64
}

// Ledger is where the log stands.
type Ledger struct {
	Origin       string
	Entries      uint64 // sequenced
	Size         uint64 // of the published checkpoint
	CheckpointAt int64
}

// Anchor is where a chain stands.
type Anchor struct {
	Chain      string
	Validators uint64 // 0: not known
	Height     uint64 // of the chain
	Size       uint64 // of the newest anchored checkpoint
	At         int64  // of the block that holds it
	Lag        uint64 // entries of the ledger that are not anchored yet
	Trouble    string // why the last attempt failed, "" if it did not

	// Of a chain beside the embedded one.
	Contract    string // "": the embedded chain
	Final       uint64 // newest block that is taken for final
	State       string // of a checkpoint that is on its way, "" if none is
	Gas         uint64 // of an anchor
	Fee         string // of an anchor, in the chain's coin; "" before the first
	FeeReadings string // of 1,000 readings
	Parked      int    // checkpoints that the contract refuses for ever
	Endpoints   []string
	Alarms      []ChainAlarm
}

// ChainAlarm is what went wrong on a chain and stays to be seen.
type ChainAlarm struct {
	Kind, Text string
	At, Ended  int64 // Ended 0: it goes on
}

// Broker is who is connected.
type Broker struct {
	Clients int
	Address string
}

// Item is an item that a tag named.
type Item struct {
	Link epc.Link
	Last int64 // newest sighting, by the device's clock
	Zone statement.Texts
}

func (s *server) status(w http.ResponseWriter, r *http.Request) error {
	st, err := s.Status(r.Context())
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	w.Header().Add("Vary", "Accept-Language")
	w.Header().Set("Cache-Control", "no-store")
	v := statusView{view: s.view(r), Status: st, Base: s.Base, at: s.Location}
	v.Title, v.Every = v.L.Say("溯证 · 网关状态", "Trailmark · gateway status"), 5
	s.render(w, r, http.StatusOK, "status.html", v)
	return nil
}

// statusView is what status.html shows.
type statusView struct {
	view
	Status
	Base string
	at   *time.Location
}

// Time writes a time in ms.
func (v statusView) Time(ms int64) string {
	if ms == 0 {
		return v.L.Say("从未", "never")
	}
	layout := "01-02 15:04:05"
	if v.Now-ms > 300*24*3_600_000 {
		layout = "2006-01-02 15:04"
	}
	return time.UnixMilli(ms).In(v.at).Format(layout)
}

// Age says how long ago a time was; a device's clock may be ahead of ours.
func (v statusView) Age(ms int64) string {
	switch age := v.Now - ms; {
	case ms == 0:
		return ""
	case age < -1000:
		return v.L.Say("比网关时钟快 "+v.L.Duration(-age), v.L.Duration(-age)+" ahead of our clock")
	case age < 1000:
		return v.L.Say("刚刚", "just now")
	default:
		return v.L.Say(v.L.Duration(age)+"前", v.L.Duration(age)+" ago")
	}
}

// Stale reports a channel whose newest reading covers the present no more: older
// than two nominal intervals, and five seconds for the way here.
func (v statusView) Stale(c Channel) bool { return v.Now-c.At > 2*c.Nominal+5000 }

// Beyond reports that the newest reading is at or past a limit.
func (c Channel) Beyond() bool {
	return c.At != 0 && slices.ContainsFunc(c.Limits, func(l trace.Limit) bool { return l.Beyond(c.Value) })
}

// Tally is one counter with what it means.
type Tally struct {
	Name, Words string
	Count       uint64
	Bad         bool
}

// Tallies are the counters: what went well first, then the refusals by name.
func (v statusView) Tallies() []Tally {
	l, known := v.L, map[string][2]string{
		"accepted":         {"已接收", "accepted"},
		"late":             {"其中迟到", "of these late"},
		"repeated":         {"重复（已再次回执）", "repeated, receipted again"},
		"waiting":          {"等待前一帧", "waiting for the frame before"},
		"too-large":        {"过大", "too large"},
		"malformed":        {"格式错误", "malformed"},
		"wrong-topic":      {"主题不符", "sent on another device's topic"},
		"unknown-key":      {"密钥未获授权", "key not vouched for"},
		"bad-signature":    {"签名不成立", "signature does not hold"},
		"bad-records":      {"记录与签名不符", "records do not give the signed root"},
		"wrong-epoch":      {"纪元不符", "wrong epoch"},
		"wrong-prev":       {"不接上一帧", "does not follow the frame before"},
		"fork":             {"分叉（已留证）", "fork, kept as evidence"},
		"declared-lost":    {"设备已声明丢失", "declared lost by the device"},
		"bad-trace":        {"测量链不连续", "trace not extended rightly"},
		"unknown-plan":     {"计划未知", "plan not known"},
		"too-many-waiting": {"等待的帧过多", "too many frames waiting"},
	}
	good := []string{"accepted", "late", "repeated", "waiting"}
	var out []Tally
	add := func(name string, bad bool) {
		words := known[name]
		out = append(out, Tally{name, l.Say(words[0], words[1]), v.Ingest[name], bad})
	}
	for _, name := range good {
		add(name, false)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Ingest)) {
		if !slices.Contains(good, name) {
			add(name, true)
		}
	}
	return out
}

// DeviceName is a device's name, or the start of its key id.
func (v statusView) DeviceName(kid statement.Hash) string {
	for _, d := range v.Devices {
		if d.KeyID == kid && d.Name != "" {
			return d.Name
		}
	}
	return Short(kid)
}

// Short is the start of a key id.
func Short(kid statement.Hash) string { return kid.String()[:12] + "…" }

// Short is the start of the device's key id.
func (d Device) Short() string { return Short(d.KeyID) }

// Short is the start of the device's key id.
func (f Fork) Short() string { return Short(f.KeyID) }

// In is words in the page's language.
func (v view) In(t statement.Texts) string { return t.In(string(v.L)) }

// Value writes thousandths of a unit.
func (view) Value(milli int64) string { return passport.Value(milli) }

// Low and High write extremes to a tenth, rounded away from the good.
func (view) Low(milli int64) string  { return passport.Outward(milli, false) }
func (view) High(milli int64) string { return passport.Outward(milli, true) }

// Mean writes a mean in thousandths.
func (view) Mean(milli int64) string { return passport.Mean(milli) }

// Unit writes a SenML unit.
func (view) Unit(senml string) string { return passport.Unit(senml) }
