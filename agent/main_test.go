package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the command: what is tested is a process.
func TestMain(m *testing.M) {
	if os.Getenv("AGENT_UNDER_TEST") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func agent(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), append(env, "AGENT_UNDER_TEST=1")...)
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	bus := filepath.Join(dir, "w1")
	if err := os.Mkdir(bus, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(settings, []byte("claim: SECRET\nevery: 30s\nw1:\n  root: "+bus+"\nllrp:\n  - address: r1\n    antennas: 4\ndir: "+dir+"/g\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mistyped := filepath.Join(dir, "mistyped.yaml")
	if err := os.WriteFile(mistyped, []byte("evry: 30s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name           string
		env            []string
		args           string
		code           int
		stdout, stderr string // one must be there, an empty one must be empty
	}{
		{"nothing", nil, "", 0, "agent run --dir", ""},
		{"help", nil, "--help", 0, "Example", ""},
		{"run help", nil, "run --help", 0, "-w1-root", ""},
		{"status help", nil, "status --help", 0, "-dir", ""},
		{"unknown command", nil, "walk", 2, "", `unknown command "walk"`},
		{"unknown flag", nil, "run --evry 5s", 2, "", "-evry"},
		{"left over", nil, "run now", 2, "", `unexpected argument "now"`},
		{"unknown variable", []string{"TRAILMARK_AGENT_EVRY=5s"}, "run", 2, "", "TRAILMARK_AGENT_EVRY: no such flag --evry"},
		{"bad variable", []string{"TRAILMARK_AGENT_SEAL=soon"}, "run", 2, "", "TRAILMARK_AGENT_SEAL"},
		{"too often", nil, "run --every 1ms", 2, "", "1ms is not within"},
		{"folder is a file", nil, "run --dir " + file + " --w1-root " + bus, 1, "", "hint: give a folder this user may write"},
		{"no bus", nil, "run --dir " + dir + "/a --w1-root " + dir + "/none", 1, "", "hint"},
		{"not enrolled", nil, "run --dir " + dir + "/b --w1-root " + bus, 1, "", "--claim"},
		{"a claim that is none", nil, "run --dir " + dir + "/c --claim nowhere/#X --w1-root " + bus, 1, "", "nowhere"},
		{"a code alone", nil, "run --dir " + dir + "/d --claim X --w1-root " + bus, 1, "", "--ca"},
		{"a key of no kind", nil, "run --dir " + dir + "/e --key usb:1 --w1-root " + bus, 1, "", "tpm:/dev/tpmrm0"},
		{"no TPM", nil, "run --dir " + dir + "/f --key tpm:" + dir + "/tpm --claim X --w1-root " + bus, 1, "", "is there a TPM"},
		{"version", nil, "--version", 0, "trailmark agent", ""},
		{"no settings", nil, "run --config " + dir + "/none.yaml", 1, "", "hint: copy agent.example.yaml"},
		{"mistyped settings", nil, "run --config " + mistyped, 1, "", "did you mean every?"},
		{"settings from a file", nil, "config --config " + settings, 0, "every: 30s", ""},
		{"a flag goes before the file", nil, "config --config " + settings + " --every 5s", 0, "every: 5s", ""},
		{"the environment goes before the file", []string{"TRAILMARK_AGENT_EVERY=7s", "TRAILMARK_AGENT_CONFIG=" + settings}, "config", 0, "every: 7s", ""},
		{"a flag goes before the environment", []string{"TRAILMARK_AGENT_EVERY=7s"}, "config --config " + settings + " --every 5s", 0, "every: 5s", ""},
		{"readers by flags replace those of the file", nil, "config --config " + settings + " --llrp-antennas 3 --llrp r2,r3:1", 0, "- address: r2\n  antennas: 3", ""},
		{"a claim is not shown", nil, "config --config " + settings, 0, "claim: \"\"", ""},
		{"bad log level", nil, "run --log-level loud", 2, "", "none of debug"},
		{"metrics for everybody", nil, "run --metrics 0.0.0.0:1", 2, "", "not on this device"},
		{"no antennas", nil, "run --llrp-antennas none", 2, "", "number of antennas"},
		{"rotate help", nil, "rotate --help", 0, "rotate --key tpm:/dev/tpmrm0", ""},
		{"rotate without an agent", []string{"TRAILMARK_AGENT_KEY=tpm:/x"}, "rotate --dir " + dir + "/none", 1, "", "hint: start it with systemctl"},
		{"rotate to a key of no kind", nil, "rotate --key usb:1 --dir " + dir + "/none", 1, "", "tpm:/dev/tpmrm0"},
		{"rotate now", nil, "rotate now", 2, "", `unexpected argument "now"`},
		{"doctor help", nil, "doctor --help", 0, "-lang", ""},
		{"doctor of mistyped settings", nil, "doctor --lang en --config " + mistyped, 1, "did you mean every?", ""},
		{"doctor in Chinese", []string{"LC_ALL=zh_CN.UTF-8"}, "doctor --w1-root " + bus + " --dir " + dir + "/h", 1, "提示", ""},
		{"doctor in another language", nil, "doctor --lang fr", 2, "", "neither en nor zh-CN"},
		{"doctor as JSON", nil, "doctor --json --lang en --w1-root " + bus + " --dir " + dir + "/h", 1, "\"check\": \"clock\"", ""},
		{"export of nothing", nil, "export -o " + dir + "/card --dir " + dir + "/none", 1, "", "not enrolled"},
		{"export to nowhere", nil, "export --dir " + dir, 2, "", "with -o"},
		{"export over a file", nil, "export -o " + file + " --dir " + dir, 1, "", "exists"},
		{"status of nothing", []string{"TRAILMARK_AGENT_LLRP=x:1"}, "status --dir " + dir + "/none", 1, "", "no agent has run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := agent(t, c.env, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) ||
				(c.stdout == "") != (stdout == "") || (c.stderr == "") != (stderr == "") {
				t.Errorf("agent %s: exit %d\n%s%s", c.args, code, stdout, stderr)
			}
			if strings.Contains(stdout+stderr, "SECRET") {
				t.Errorf("shows the claim: %s%s", stdout, stderr)
			}
			if c.code == 2 && strings.Count(stderr, "\n") != 1+strings.Count(stderr, "hint: ") {
				t.Errorf("a usage error of several lines: %s", stderr)
			}
		})
	}
}
