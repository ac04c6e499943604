package alarm

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/internal/device"
	"trailmark/statement"
)

// all are rules of every kind that follows from frames alone.
const all = `{"rules":[
 {"id":"a","kind":"single-event","name":{"zh-CN":"一","en":"a"},"severity":"alarm","plan_limits":true,"for":"3m","clear":"2m"},
 {"id":"b","kind":"cumulative","name":{"zh-CN":"二","en":"b"},"severity":"alarm","unit":"Cel","at_or_above":8.001,"for":"10m","each_day":true},
 {"id":"c","kind":"rate-of-rise","name":{"zh-CN":"三","en":"c"},"severity":"alarm","unit":"Cel","rise":4,"within":"5m","for":"0s"},
 {"id":"d","kind":"no-data","name":{"zh-CN":"四","en":"d"},"severity":"alarm","for":"10m"},
 {"id":"e","kind":"probe-fault","name":{"zh-CN":"五","en":"e"},"severity":"alarm","for":"2m"},
 {"id":"f","kind":"door-open","name":{"zh-CN":"六","en":"f"},"severity":"alarm","for":"4m"},
 {"id":"g","kind":"clock-doubt","name":{"zh-CN":"七","en":"g"},"severity":"alarm","quality":"rtc","max_error":"1s","for":"2m"},
 {"id":"h","kind":"calibration-due","name":{"zh-CN":"八","en":"h"},"severity":"alarm","for":"0s"},
 {"id":"i","kind":"disagreement","name":{"zh-CN":"九","en":"i"},"severity":"alarm","unit":"Cel","differ":3,"for":"4m"},
 {"id":"j","kind":"tamper","name":{"zh-CN":"十","en":"j"},"severity":"alarm","for":"0s"}]}`

// sent is one message and who it is from.
type sent struct {
	dev int
	up  []byte
}

// history makes some hours of three devices: drifting values, dead probes, doors,
// clocks that are doubted, frames of any length.
func history(w *world, r *rand.Rand) []sent {
	var out []sent
	value := []int64{5000, 5500, 6000}
	for range 40 {
		for i, d := range w.devs {
			d.clock.MaxError = []uint64{10, 10, 10, 5000}[r.IntN(4)]
			var in device.Input
			c := device.ChannelReadings{Channel: d.channel()}
			dead := r.IntN(8) == 0
			for range 1 + r.IntN(6) {
				d.wait(time.Duration(40+r.IntN(40)) * time.Second)
				value[i] += r.Int64N(2401) - 1200
				value[i] = min(max(value[i], 0), 12000)
				if !dead {
					c.Times, c.Values = append(c.Times, d.clock.Wall), append(c.Values, value[i])
				}
				switch r.IntN(12) {
				case 0:
					code := uint64(r.IntN(2))
					in.Happenings = append(in.Happenings, &statement.Happening{Type: statement.Door, At: d.clock.Wall, Code: &code})
				case 1:
					code := uint64(4)
					in.Happenings = append(in.Happenings, &statement.Happening{Type: statement.Fault, At: d.clock.Wall, Subject: d.channel(), Code: &code, Count: 1})
				case 2:
					if r.IntN(10) == 0 {
						in.Happenings = append(in.Happenings, &statement.Happening{Type: statement.Tamper, At: d.clock.Wall, Words: "cover"})
					}
				}
			}
			if dead {
				d.wait(time.Duration(r.IntN(15)) * time.Minute)
			} else {
				in.Readings = []device.ChannelReadings{c}
			}
			out = append(out, sent{i, d.seal(in)})
		}
	}
	return out
}

// TestOrderAndRestarts: whatever the order in which frames arrive, and wherever
// the gateway stops between two statements, the alarms are the same.
func TestOrderAndRestarts(t *testing.T) {
	kinds := map[string]bool{}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			in := newWorld(t, 3)
			in.rules(all)
			messages := history(in, r)
			for _, m := range messages {
				in.devs[m.dev].accept(m.up)
			}
			in.judge()
			for _, a := range in.alarms() {
				kinds[a.Kind] = true
			}
			expected := in.same()

			// Any order: frames wait for the ones before them, and hours late.
			shuffled := newWorld(t, 3)
			shuffled.rules(all)
			for _, i := range r.Perm(len(messages)) {
				m := messages[i]
				shuffled.now = shuffled.now.Add(time.Duration(r.IntN(3600)) * time.Second)
				if out := shuffled.devs[m.dev].give(m.up); out[0].Err != nil {
					t.Fatal(out[0].Err)
				}
				if r.IntN(3) == 0 {
					shuffled.judge()
				}
			}
			shuffled.judge()
			if got := shuffled.same(); got != expected {
				t.Errorf("another order, other alarms:\n%s", diff(expected, got))
			}

			// A restart after every message.
			again := newWorld(t, 3)
			again.rules(all)
			for _, m := range messages {
				again.devs[m.dev].accept(m.up)
				again.open()
				again.judge()
			}
			if got := again.same(); got != expected {
				t.Errorf("restarts, other alarms:\n%s", diff(expected, got))
			}
		})
	}
	for _, k := range []Kind{Single, Cumulative, RateOfRise, NoData, ProbeFault, DoorOpen, ClockDoubt, Calibration, Disagreement, Tamper} {
		if !kinds[string(k)] {
			t.Errorf("no history raised %s: this test says nothing of it", k)
		}
	}
}

// diff is the lines that one text has and the other has not.
func diff(a, b string) string {
	count := map[string]int{}
	for line := range strings.SplitSeq(a, "\n") {
		count[line]++
	}
	for line := range strings.SplitSeq(b, "\n") {
		count[line]--
	}
	var out []string
	for line, n := range count {
		if n != 0 {
			out = append(out, fmt.Sprintf("%+d %s", -n, line))
		}
	}
	return strings.Join(out[:min(len(out), 40)], "\n")
}

// TestCrashInside: a transaction that does not end leaves nothing behind, and the
// next one raises what it would have raised: no alarm and no notice is lost or
// doubled. A trigger in the database stands for the crash, at each write in turn.
func TestCrashInside(t *testing.T) {
	text := strings.Replace(rule(Single, `,"plan_limits":true,"for":"0s","notify":"who"`), `{"rules"`, `{"escalations":[{"id":"who","steps":[{"after":"0s","targets":["a","b"]},{"after":"10m","targets":["c"]}]}],"rules"`, 1)
	for _, table := range []string{"alarm", "alarm_rule", "alarm_state", "notice", "alarm_position"} {
		t.Run(table, func(t *testing.T) {
			w := newWorld(t, 1)
			w.rules(text)
			d := w.devs[0]
			d.accept(d.reads(5000))
			w.judge()
			d.accept(d.reads(9000, 9000), d.reads(5000))
			db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "store.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for _, on := range []string{"INSERT", "UPDATE"} {
				if _, err := db.Exec("CREATE TRIGGER crash_" + on + " BEFORE " + on + " ON " + table + " BEGIN SELECT RAISE(ABORT, 'crash'); END"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := w.e.Step(t.Context()); err == nil || !strings.Contains(err.Error(), "crash") {
				t.Fatalf("no crash: %v", err)
			}
			w.count(0)
			for _, on := range []string{"INSERT", "UPDATE"} {
				if _, err := db.Exec("DROP TRIGGER crash_" + on); err != nil {
					t.Fatal(err)
				}
			}
			w.open()
			w.judge()
			w.judge()
			a := w.count(1)[0]
			want(t, a, "r", 1, 1, 3, BackInRange)
			notices, err := w.st.Notices(t.Context(), a.ID)
			if err != nil || len(notices) != 5 { // two starts, two ends, one escalation
				t.Errorf("%d notices, %v", len(notices), err)
			}
		})
	}
}

// TestDamage: a stored frame that cannot be read is passed over; what comes after
// it is judged.
func TestDamage(t *testing.T) {
	w := newWorld(t, 2)
	w.rules(rule(Single, `,"plan_limits":true,"for":"0s"`))
	a, b := w.devs[0], w.devs[1]
	a.accept(a.reads(5000))
	b.accept(b.reads(9000))
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE statement SET extra = x'00' WHERE kid = $1 AND seq = 0", func() []byte { k := a.signer.Key().ID(); return k[:] }()); err != nil {
		t.Fatal(err)
	}
	w.judge()
	if al := w.count(1)[0]; al.Device != b.sealer.Issuer {
		t.Errorf("%+v", al)
	}
	a.accept(a.reads(9000))
	w.judge()
	w.count(2)
}

// TestInventedNames: a device that names ever new channels and subjects does not
// make the gateway remember them all.
func TestInventedNames(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(rule(ProbeFault, `,"for":"1h"`))
	d := w.devs[0]
	for i := range 4 {
		in := device.Input{}
		d.wait(time.Minute)
		for n := range 1500 {
			in.Happenings = append(in.Happenings, &statement.Happening{Type: statement.Lost, At: d.clock.Wall, Subject: fmt.Sprintf("x%d-%d", i, n)})
		}
		for n := range 20 {
			in.Readings = append(in.Readings, device.ChannelReadings{Channel: fmt.Sprintf("y%d-%d", i, n), Times: []int64{d.clock.Wall}, Values: []int64{1}})
		}
		d.accept(d.seal(in))
	}
	w.judge()
	var m memory
	if ok, err := w.st.AlarmState(t.Context(), d.sealer.Issuer, &m); err != nil || !ok || len(m.Machines) > maxMachines || len(m.Channels) > 1 {
		t.Errorf("%d conditions and %d channels are remembered, %v", len(m.Machines), len(m.Channels), err)
	}
}
