package alarm

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/notify"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

const told = `{"escalations":[{"id":"staff","steps":[{"after":"0s","targets":["shift"]},{"after":"15m","targets":["boss","deputy"]},{"after":"1h","targets":["owner"]}]}],
 "rules":[{"id":"r","kind":"single-event","name":{"zh-CN":"超出限值","en":"Beyond a limit"},"severity":"alarm","plan_limits":true,"for":"0s","notify":"staff"}]}`

func (w *world) notices(id string) []store.Notice {
	w.t.Helper()
	ns, err := w.st.Notices(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return ns
}

// due are the notices of an alarm that wait, with how many minutes after now.
func (w *world) due(id string) (out []string) {
	w.t.Helper()
	for _, n := range w.notices(id) {
		if n.Done == "" {
			out = append(out, n.What+" "+n.Target+" "+(time.Duration(n.Due-w.now.UnixMilli())*time.Millisecond).Round(time.Second).String())
		}
	}
	return out
}

// TestEscalation: who is told next is told only while nobody acknowledges it.
func TestEscalation(t *testing.T) {
	w := newWorld(t, 1)
	w.rules(told)
	d := w.devs[0]
	w.now = w.now.Add(3 * time.Hour) // the frame is late; people are told now
	d.accept(d.reads(5000, 9500))
	w.judge()
	a := w.count(1)[0]
	if got, want := w.due(a.ID), []string{"start shift 0s", "escalation boss 15m0s", "escalation deputy 15m0s", "escalation owner 1h0m0s"}; !slices.Equal(got, want) &&
		!slices.Equal(got, []string{want[0], want[2], want[1], want[3]}) {
		t.Errorf("%q, want %q", got, want)
	}
	var m notify.Message
	if err := json.Unmarshal(w.notices(a.ID)[0].Data, &m); err != nil {
		t.Fatal(err)
	}
	if m.Name.ZH != "超出限值" || m.Peak != "9.5" || m.Zone != "cold1" || m.Channel != "t0" || m.Alarm != a.ID {
		t.Errorf("%+v", m)
	}
	if err := w.e.Acknowledge(t.Context(), a.ID, "李雷", ""); err != nil {
		t.Fatal(err)
	}
	if got := w.due(a.ID); !slices.Equal(got, []string{"start shift 0s"}) {
		t.Errorf("after the acknowledgement: %q", got)
	}
	d.accept(d.reads(5000))
	w.judge()
	if got := w.due(a.ID); len(got) != 2 || !strings.HasPrefix(got[1], "end shift") {
		t.Errorf("after its end: %q", got)
	}
	if a = w.count(1)[0]; !a.Closed {
		t.Errorf("ended and acknowledged: %+v", a)
	}
}

func (w *world) window(by *statement.Signer, iss string, win Window, objects ...string) *statement.Statement {
	w.t.Helper()
	text, err := NewWindow(win, w.now, objects)
	if err != nil {
		w.t.Fatal(err)
	}
	ev := &statement.Event{Version: 1, EPCIS: text}
	for _, o := range objects {
		ev.Objects = append(ev.Objects, statement.EventOf{Object: o})
	}
	return w.sign(by, statement.KindEvent, iss, ev)
}

// TestMaintenance: a window that an organisation signs holds notices back until it
// closes, and keeps no alarm from being kept.
func TestMaintenance(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []string
		held    bool
	}{
		{"the zone", []string{ZoneURI("cold1")}, true},
		{"the device", []string{"urn:example:other", "urn:dev:os:32473-d0"}, true},
		{"another zone", []string{ZoneURI("cold2")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.rules(told)
			d := w.devs[0]
			s := w.window(w.org, "urn:example:org", Window{start.Add(2 * time.Minute), start.Add(time.Hour), "除霜 defrost"}, c.objects...)
			if err := w.in.Add(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			d.accept(d.reads(5000, 9500, 9500, 5000, 5000)) // began before the window
			w.judge()
			a := w.count(1)[0]
			if a.Window != nil {
				t.Errorf("an alarm from before the window is held back: %+v", a)
			}
			d.accept(d.reads(9500, 5000)) // within it, and over within it
			d.accept(d.reads(9500))       // goes on
			w.judge()
			as := w.count(3)
			for _, a := range as[1:] {
				if held := a.Window != nil && *a.Window == s.ID(); held != c.held {
					t.Errorf("held back %v, want %v: %+v", held, c.held, a)
				}
			}
			if !c.held {
				return
			}
			if got := w.due(as[1].ID); len(got) != 0 {
				t.Errorf("it was over within the window, and people are told %q", got)
			}
			if got := w.due(as[2].ID); len(got) != 4 || got[0] != "start shift 1h0m0s" {
				t.Errorf("it goes on: %q", got)
			}
			open, err := w.st.Windows(t.Context(), w.now.UnixMilli())
			if err != nil || len(open) != len(c.objects) || open[0].Why != "除霜 defrost" || open[0].Issuer != "urn:example:org" {
				t.Errorf("%+v, %v", open, err)
			}
		})
	}
}

// TestWindowRefused: what is not signed by an organisation never gets in, and what
// is no window opens none.
func TestWindowRefused(t *testing.T) {
	w := newWorld(t, 1)
	win := Window{start, start.Add(time.Hour), "x"}
	for iss, by := range map[string]*statement.Signer{"site": w.site, "urn:dev:os:32473-d0": w.devs[0].signer} {
		if err := w.in.Add(t.Context(), w.window(by, iss, win, ZoneURI("cold1"))); err == nil {
			t.Errorf("a window by %s was taken", iss)
		}
	}
	for name, bad := range map[string]Window{
		"backwards": {start.Add(time.Hour), start, "x"}, "endless": {start, start.Add(8 * 24 * time.Hour), "x"}, "no reason": {start, start.Add(time.Hour), ""},
		"before time": {time.Unix(-5, 0), start, "x"}, "long reason": {start, start.Add(time.Hour), strings.Repeat("x", 300)},
	} {
		if _, err := NewWindow(bad, start, []string{"urn:x"}); err == nil {
			t.Errorf("%s: made", name)
		}
		raw, err := json.Marshal(map[string]any{maintenance: bad})
		if err != nil {
			t.Fatal(err)
		}
		ev := &statement.Event{Version: 1, EPCIS: raw, Objects: []statement.EventOf{{Object: ZoneURI("cold1")}}}
		if err := w.in.Add(t.Context(), w.sign(w.org, statement.KindEvent, "urn:example:org", ev)); err != nil {
			t.Logf("%s: ingest refuses it: %v", name, err)
		}
	}
	w.judge()
	if open, err := w.st.Windows(t.Context(), 0); err != nil || len(open) != 0 {
		t.Errorf("%+v, %v", open, err)
	}
}

// TestCloseDisagreement: alarms of two devices are closed as those of one.
func TestCloseDisagreement(t *testing.T) {
	w := newWorld(t, 2)
	w.rules(rule(Disagreement, `,"unit":"Cel","differ":2,"for":"1m"`))
	a, b := w.devs[0], w.devs[1]
	a.accept(a.reads(4000, 4000, 4000))
	b.accept(b.reads(7000, 7000, 7000))
	w.judge()
	if err := w.e.Close(t.Context(), w.count(1)[0].ID, "x", ""); err != nil {
		t.Fatal(err)
	}
	a.accept(a.reads(4000, 4000, 4000))
	b.accept(b.reads(7000, 7000, 7000))
	w.judge()
	w.count(1)
	a.accept(a.reads(4000, 4000, 4000))
	b.accept(b.reads(4000, 7000, 7000))
	w.judge()
	w.count(2)
}

// BenchmarkJudge is what one frame of one reading costs beyond its ingest, with
// the built-in rules.
func BenchmarkJudge(b *testing.B) {
	w := newWorld(b, 20)
	w.judge()
	const each = 50
	for range each {
		for _, d := range w.devs {
			d.accept(d.reads(5000))
		}
	}
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		if err := w.st.Update(b.Context(), func(tx *store.Tx) error { return tx.PutAlarmPosition(0, 0) }); err != nil {
			b.Fatal(err)
		}
		w.open()
		b.StartTimer()
		w.judge()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(20*each), "ns/frame")
}
