package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"trailmark/firmware-sim/app"
	"trailmark/internal/command"
)

func TestFleetFlags(t *testing.T) {
	for args, want := range map[string]string{
		"fleet now":                       "unexpected argument",
		"fleet --devices 0":               "devices: 0, want 1 to",
		"fleet --rogues 2":                "rogues: 2, want a share",
		"fleet --speed 2":                 "not defined: -speed",
		"fleet --every soon":              "invalid value",
		"fleet --readings 5 --every 1h1m": "every: 1h1m0s",
	} {
		var out bytes.Buffer
		if err := run(t.Context(), strings.Fields(args), nil, &out, &out); !command.IsUsage(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"fleet", "--help"}, nil, &out, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "-clones") {
		t.Errorf("help: %v, %s", err, out.String())
	}
	dir := filepath.Join(t.TempDir(), "fleet")
	if err := run(t.Context(), []string{"fleet", "--dir", dir}, nil, &out, &out); err == nil || command.IsUsage(err) || !strings.Contains(err.Error(), "no claim: there are 0\nhint: for i in") {
		t.Errorf("without claims: %v", err)
	}
}

// What the rooms and the script need comes from flags too.
func TestWorldFlags(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("dc:reader:hang@1m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parse([]string{"--fault", "origin:room:door@5s", "--script", script, "--setpoints", "5,-18,ambient", "--ambient", "30.5", "--swing", "6", "--spill", "20"})
	if err != nil {
		t.Fatal(err)
	}
	want := app.Default()
	want.Setpoints, want.Ambient, want.Swing, want.Spill = []int32{5000, -18_000, app.Uncooled}, 30_500, 6000, 20
	want.Faults = []app.FaultPlan{{Zone: "origin", Part: app.PartRoom, Fault: app.Fault{Kind: app.Door}, After: 5 * time.Second},
		{Zone: "dc", Part: app.PartReader, Fault: app.Fault{Kind: app.Hang}, After: time.Minute}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	for _, args := range [][]string{{"--script", script + ".gone"}, {"--setpoints", "cold"}, {"--ambient", "101"}, {"--fault", "dc:1:melt@1s"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
