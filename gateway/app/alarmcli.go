package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"trailmark/gateway/internal/alarm"
	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/notify"
	"trailmark/gateway/internal/store"
)

// openAlarms opens the alarms of a gateway, which may be running: what is done goes
// through the store, where it finds it.
func openAlarms(ctx context.Context, dir string) (alarmBook, error) {
	if _, err := loadOrganisation(dir); err != nil {
		return alarmBook{}, err
	}
	st, err := openStore(ctx, dir)
	if err != nil {
		return alarmBook{}, err
	}
	return alarmBook{st, alarm.New(st, time.Now, slog.New(slog.DiscardHandler))}, nil
}

// Alarms lists alarms.
func Alarms(ctx context.Context, dir, which string, limit int, asJSON bool, out io.Writer) error {
	b, err := openAlarms(ctx, dir)
	if err != nil {
		return err
	}
	defer b.store.Close()
	list, err := b.List(ctx, which, 0, limit)
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(out)
		for _, a := range list {
			d, err := b.Get(ctx, a.ID)
			if err == nil {
				err = enc.Encode(d)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSEVERITY\tRULE\tZONE\tCHANNEL OR DEVICE\tSINCE\tMEASURED\tFURTHEST\tSTATE")
	for _, a := range list {
		where := a.Channel
		if where == "" {
			where = a.Device
		}
		if a.Neighbour != "" {
			where += " / " + a.Neighbour
		}
		state := "going on"
		if a.Ended != nil {
			state = "ended " + a.Ended.Format(time.RFC3339) + " (" + strings.ReplaceAll(a.Reason, "-", " ") + ")"
		}
		if a.Acknowledged == nil {
			state += ", not acknowledged"
		}
		if a.Maintenance != "" {
			state += ", under maintenance"
		}
		furthest := orDash(a.Peak.String())
		if a.Peak != "" {
			furthest += " " + a.Unit
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.ID[:12], a.Severity, a.Rule, orDash(a.Zone), where, a.Start.Format(time.RFC3339),
			(time.Duration(a.MeasuredMS) * time.Millisecond).Round(time.Second), furthest, state)
	}
	return t.Flush()
}

// ActOnAlarm acknowledges an alarm, or closes it.
func ActOnAlarm(ctx context.Context, dir string, closing bool, prefix, by, comment string, out io.Writer) error {
	b, err := openAlarms(ctx, dir)
	if err != nil {
		return err
	}
	defer b.store.Close()
	id, err := b.store.AlarmByPrefix(ctx, strings.ToLower(prefix))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("no alarm %s, or more than one\nhint: gateway alarms list gives their ids", prefix)
	} else if err != nil {
		return err
	}
	word, do := "acknowledged", b.engine.Acknowledge
	if closing {
		word, do = "closed", b.engine.Close
	}
	if err := do(ctx, id, by, comment); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "alarm %s %s by %s\n", id, word, by)
	return err
}

// AlarmRulesConfig is what `gateway alarms rules` needs.
type AlarmRulesConfig struct {
	Dir, File, Preset string
	Show              bool
	By                string
}

// AlarmRules prints rules or puts some in force.
func AlarmRules(ctx context.Context, c AlarmRulesConfig, out io.Writer) error {
	var text []byte
	var err error
	switch {
	case c.Preset != "":
		text, err = alarm.Preset(c.Preset)
	case c.File != "":
		text, err = readFile(c.File, alarm.MaxRulesText)
	}
	if err != nil {
		return err
	}
	if c.Show {
		_, err := out.Write(text)
		return err
	}
	b, err := openAlarms(ctx, c.Dir)
	if err != nil {
		return err
	}
	defer b.store.Close()
	if text == nil {
		rules, err := alarm.InForce(ctx, b.store)
		if err != nil {
			return err
		}
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(rules)
	}
	rules, err := alarm.ParseRules(text)
	if err != nil {
		return err
	}
	targets, err := notify.Load(targetsPath(c.Dir))
	if err != nil {
		return err
	}
	if err := b.engine.SetRules(ctx, text, c.By); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d rules are in force for what comes in from now on\n", len(rules.Rules))
	for _, e := range rules.Escalations {
		for _, s := range e.Steps {
			for _, id := range s.Targets {
				if targets.Target(id) == nil {
					fmt.Fprintf(out, "escalation %s names target %s, which is not set: gateway alarms targets --set\n", e.ID, id)
				}
			}
		}
	}
	return nil
}

// readFile reads a file, or standard input for -, of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s: over %d bytes", name, limit)
	}
	return text, err
}

// AlarmTargets lists targets, sets them, or lets a parked one go on.
func AlarmTargets(ctx context.Context, dir, file, resume string, out io.Writer) error {
	b, err := openAlarms(ctx, dir)
	if err != nil {
		return err
	}
	defer b.store.Close()
	if file != "" {
		text, err := readFile(file, notify.MaxTargetsText)
		if err != nil {
			return err
		}
		if _, err := notify.Parse(text); err != nil {
			return err
		}
		if err := enrol.WriteFile(targetsPath(dir), text, 0o600); err != nil {
			return err
		}
	}
	if resume != "" {
		if err := notify.Resume(ctx, b.store, resume); err != nil {
			return err
		}
	}
	targets, err := notify.Load(targetsPath(dir))
	if err != nil {
		return err
	}
	states, err := b.store.TargetStates(ctx)
	if err != nil {
		return err
	}
	byID := map[string]store.TargetState{}
	for _, s := range states {
		byID[s.ID] = s
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tTYPE\tWHERE\tWAITING\tSTATE")
	for _, x := range targets.Targets {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", x.ID, x.Type, x.Place(), byID[x.ID].Waiting, targetState(byID[x.ID]))
		delete(byID, x.ID)
	}
	for _, s := range states {
		if _, left := byID[s.ID]; left && s.Waiting > 0 {
			fmt.Fprintf(t, "%s\t-\tnot set\t%d\t%s\n", s.ID, s.Waiting, targetState(s))
		}
	}
	return t.Flush()
}

func targetState(s store.TargetState) string {
	switch {
	case s.Parked != 0:
		return "parked " + at(s.Parked).Format(time.RFC3339) + ": " + oneLine(s.Error)
	case s.Failures > 0:
		return fmt.Sprintf("failed %d times in a row: %s", s.Failures, oneLine(s.Error))
	}
	return "ok"
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// TestNotify sends a test notice.
func TestNotify(ctx context.Context, dir, target string, out io.Writer) error {
	b, err := openAlarms(ctx, dir)
	if err != nil {
		return err
	}
	defer b.store.Close()
	targets, err := notify.Load(targetsPath(dir))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := targets.Test(ctx, target, "test-"+rand.Text(), time.Now()); err != nil {
		return err
	}
	if err := notify.Resume(ctx, b.store, target); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	_, err = fmt.Fprintf(out, "target %s took a test notice\n", target)
	return err
}

// MaintenanceConfig is what `gateway alarms maintenance` needs.
type MaintenanceConfig struct {
	Dir            string
	Zones, Devices []string // a device by its identity, as gateway devices lists it
	From           time.Time
	For            time.Duration
	Why            string
}

// Maintenance leaves an event for the gateway to sign: alarms of what is worked on
// are no news meanwhile.
func Maintenance(c MaintenanceConfig, out io.Writer) error {
	if _, err := loadOrganisation(c.Dir); err != nil {
		return err
	}
	objects := slices.Clone(c.Devices)
	for _, z := range c.Zones {
		objects = append(objects, alarm.ZoneURI(z))
	}
	w := alarm.Window{From: c.From, To: c.From.Add(c.For), Why: c.Why}
	text, err := alarm.NewWindow(w, time.Now(), objects)
	if err != nil {
		return err
	}
	if err := leave(c.Dir, text, captureSuffix); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "maintenance of %s from %s to %s left for the gateway to sign; a running one does so within seconds\nalarms meanwhile are kept and shown, and nobody is told of them before it ends\n",
		strings.Join(objects, ", "), w.From.Format(time.RFC3339), w.To.Format(time.RFC3339))
	return err
}
