package app

import (
	"strings"
	"testing"
)

func TestReachable(t *testing.T) {
	for _, c := range []struct{ given, listening, want, refused string }{
		{"", "127.0.0.1:8443", "https://127.0.0.1:8443", ""},
		{"", "[::1]:8443", "https://[::1]:8443", ""},
		{"https://gw.example", "0.0.0.0:8443", "https://gw.example", ""},
		{"https://gw.example:9/", "0.0.0.0:8443", "https://gw.example:9", ""},
		{"", "0.0.0.0:8443", "", "hint: give the one they reach with --est-url https://10.0.0.5:8443"},
		{"", "[::]:8443", "", "--est-url"},
		{"http://gw.example", "127.0.0.1:8443", "", "is no address like https://"},
		{"https://gw.example/x", "127.0.0.1:8443", "", "is no address like"},
		{"gw.example:8443", "127.0.0.1:8443", "", "is no address like"},
	} {
		got, err := reachable("https", c.given, c.listening, "--est-url")
		if got != c.want || (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%q on %s: %q, %v", c.given, c.listening, got, err)
		}
	}
}

// TestHosts: the certificate is for what devices are told, and for this machine.
func TestHosts(t *testing.T) {
	g := &gateway{conf: Config{ESTURL: "https://gw.example:8443", BrokerURL: "", MQTT: "10.0.0.5:8883"}}
	got, err := g.hosts()
	if err != nil || strings.Join(got, " ") != "localhost 127.0.0.1 ::1 gw.example 10.0.0.5" {
		t.Errorf("%q, %v", got, err)
	}
	g.conf.MQTT, g.conf.BrokerURL = "0.0.0.0:8883", "mqtts://mq.example"
	if got, err = g.hosts(); err != nil || strings.Join(got, " ") != "localhost 127.0.0.1 ::1 gw.example mq.example" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestESTURLIsKept(t *testing.T) {
	dir := t.TempDir()
	if err := Init(dir+"/o", DefaultOrganisation(), false, now, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	if _, err := readESTURL(dir + "/o"); err == nil || !strings.Contains(err.Error(), "hint: start the gateway first") {
		t.Errorf("before the first start: %v", err)
	}
	if err := writeESTURL(dir+"/o", "https://gw.example:8443"); err != nil {
		t.Fatal(err)
	}
	if got, err := readESTURL(dir + "/o"); err != nil || got != "https://gw.example:8443" {
		t.Errorf("%q, %v", got, err)
	}
}
