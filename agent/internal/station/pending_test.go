package station

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestArrivalsAreNamed holds that an installer reads GS1 names in the log, each
// tag once while it is near, and that foreign bits do no harm.
func TestArrivalsAreNamed(t *testing.T) {
	var log bytes.Buffer
	s := &Station{log: slog.New(slog.NewTextHandler(&log, nil)), near: map[string]int64{}}
	sgtin, _ := hex.DecodeString("3074257BF7194E4000001A85")
	sscc, _ := hex.DecodeString("311BA1B300CE0A6A83000000")
	for i := range int64(3) {
		at := i * int64(time.Second)
		s.arrived(at, "llrp0/1", sgtin)
		s.arrived(at, "llrp0/2", sscc)
		s.arrived(at, "llrp0/2", []byte{1, 2, 3, 4})
	}
	for _, want := range []string{"urn:epc:id:sgtin:0614141.812345.6789", "urn:epc:id:sscc:952012.03456789123", "01020304"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%s stands %d times in the log, want 1:\n%s", want, n, log.String())
		}
	}
	s.arrived(int64(time.Hour), "llrp0/1", sgtin)
	if n := strings.Count(log.String(), "0614141.812345.6789"); n != 2 {
		t.Errorf("a tag that came back is told %d times, want 2", n)
	}
	for i := range 3 * maxNear {
		s.arrived(0, "llrp0/1", []byte{byte(i), byte(i >> 8), byte(i >> 16), 9})
	}
	if len(s.near) > maxNear {
		t.Errorf("%d tags remembered, want at most %d", len(s.near), maxNear)
	}
}
