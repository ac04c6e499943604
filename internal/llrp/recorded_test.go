package llrp

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// recorded returns the payload a real reader sent and reads what another
// implementation (edgexfoundry/device-rfid-llrp-go) says it means into meaning.
func recorded(t *testing.T, name string, meaning any) []byte {
	t.Helper()
	dir := filepath.FromSlash("../../../shared/data/llrp")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recorded llrp messages in %s", dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, name+".bytes"))
	if err != nil {
		t.Fatal(err)
	}
	j, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(j, meaning); err != nil {
		t.Fatal(err)
	}
	return b
}

type jsonStatus struct {
	LLRPStatus struct {
		Status           StatusCode
		ErrorDescription string
	}
}

func TestRecordedStatus(t *testing.T) {
	for _, name := range []string{"CloseConnectionResponse-000", "GetAccessSpecsResponse-000", "GetROSpecsResponse-000",
		"GetReaderCapabilitiesResponse-000", "GetReaderConfigResponse-000"} {
		var want jsonStatus
		b := recorded(t, name, &want)
		s, err := DecodeStatus(b)
		if err != nil || s.Code != want.LLRPStatus.Status || s.Description != want.LLRPStatus.ErrorDescription {
			t.Errorf("%s: got %+v, %v; want %+v", name, s, err, want)
		}
		if out := s.Encode(); !bytes.HasPrefix(b, out) || len(b) == 8 && len(out) != 8 {
			t.Errorf("%s: encoded % x, recorded % x", name, out, b[:8])
		}
	}
}

func TestRecordedCapabilities(t *testing.T) {
	var want struct {
		GeneralDeviceCapabilities struct {
			MaxSupportedAntennas      uint16
			HasUTCClock               bool
			DeviceManufacturer, Model uint32
			FirmwareVersion           string
		}
		LLRPCapabilities       struct{ MaxROSpecs, MaxAccessSpecs uint32 }
		RegulatoryCapabilities struct {
			UHFBandCapabilities struct {
				TransmitPowerLevels []struct {
					Index              uint16
					TransmitPowerValue int16
				}
				FrequencyInformation struct {
					Hopping            bool
					FrequencyHopTables []struct {
						HopTableID  uint8
						Frequencies []uint32
					}
				}
			}
		}
	}
	b := recorded(t, "GetReaderCapabilitiesResponse-000", &want)
	w := want.GeneralDeviceCapabilities
	c, err := DecodeCapabilities(b)
	if err != nil {
		t.Fatal(err)
	}
	if c.Antennas != w.MaxSupportedAntennas || c.UTCClock != w.HasUTCClock || c.Manufacturer != w.DeviceManufacturer ||
		c.Model != w.Model || c.Firmware != w.FirmwareVersion {
		t.Errorf("got %+v, want %+v", c, w)
	}
	if l := want.LLRPCapabilities; c.MaxROSpecs != l.MaxROSpecs || c.MaxAccessSpecs != l.MaxAccessSpecs {
		t.Errorf("got %d and %d specs, want %+v", c.MaxROSpecs, c.MaxAccessSpecs, l)
	}
	u := want.RegulatoryCapabilities.UHFBandCapabilities
	if len(c.Power) != len(u.TransmitPowerLevels) || len(c.Power) != 81 {
		t.Fatalf("%d power levels, want %d", len(c.Power), len(u.TransmitPowerLevels))
	}
	for i, p := range u.TransmitPowerLevels {
		if c.Power[i] != (PowerLevel{p.Index, p.TransmitPowerValue}) {
			t.Errorf("power level %+v, want %+v", c.Power[i], p)
		}
	}
	if f := u.FrequencyInformation; c.Hopping != f.Hopping || len(f.FrequencyHopTables) != 1 || c.HopTable != f.FrequencyHopTables[0].HopTableID ||
		!slices.Equal(c.Frequencies, f.FrequencyHopTables[0].Frequencies) {
		t.Errorf("frequencies %v %d %v, want %+v", c.Hopping, c.HopTable, c.Frequencies, f)
	}
	if c.Antennas != 4 || c.Manufacturer != 25882 || c.Firmware != "5.14.0.240" {
		t.Errorf("the recording is another one: %+v", c)
	}
}

func TestRecordedConfig(t *testing.T) {
	var want struct {
		ReaderEventNotificationSpec struct {
			EventNotificationStates []struct {
				ReaderEventType     EventType
				NotificationEnabled bool
			}
		}
		KeepAliveSpec    struct{ Trigger, Interval uint32 }
		EventsAndReports bool
		ROReportSpec     struct {
			Trigger                  ReportTrigger
			N                        uint16
			TagReportContentSelector map[string]any
		}
	}
	b := recorded(t, "GetReaderConfigResponse-000", &want)
	c, err := decodeConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	states := want.ReaderEventNotificationSpec.EventNotificationStates
	if len(c.Events) != len(states) || len(states) == 0 {
		t.Errorf("%d events, want %d", len(c.Events), len(states))
	}
	for _, s := range states {
		if c.Events[s.ReaderEventType] != s.NotificationEnabled {
			t.Errorf("event %d: %v", s.ReaderEventType, c.Events[s.ReaderEventType])
		}
	}
	if c.Keepalive == nil || *c.Keepalive != time.Duration(want.KeepAliveSpec.Interval)*time.Millisecond {
		t.Errorf("keepalive %v, want %+v", c.Keepalive, want.KeepAliveSpec)
	}
	if c.Hold == nil || *c.Hold != want.EventsAndReports {
		t.Errorf("hold %v, want %v", c.Hold, want.EventsAndReports)
	}
	// What was read must be in the recording again, byte for byte.
	for p, err := range Params(c.Encode()[1:]) {
		if err != nil || !bytes.Contains(b, p.Data) {
			t.Errorf("parameter %d: % x is not in the recording, %v", p.Type, p.Data, err)
		}
	}
	for p := range Params(b) {
		if p.Type != pROReportSpec {
			continue
		}
		r, err := decodeReportSpec(p.Data)
		if err != nil || r.Trigger != want.ROReportSpec.Trigger || r.N != want.ROReportSpec.N {
			t.Errorf("report spec %+v, %v", r, err)
		}
		for name, bit := range map[string]Content{"EnableROSpecID": HasROSpecID, "EnableAntennaID": HasAntenna, "EnablePeakRSSI": HasRSSI,
			"EnableFirstSeenTimestamp": HasFirstSeen, "EnableLastSeenTimestamp": HasLastSeen, "EnableTagSeenCount": HasSeenCount} {
			if want := want.ROReportSpec.TagReportContentSelector[name]; want != (r.Content&bit != 0) {
				t.Errorf("%s: want %v in %#04x", name, want, r.Content)
			}
		}
		return
	}
	t.Error("no report spec found")
}

func TestRecordedEvent(t *testing.T) {
	var want struct {
		ReaderEventNotificationData struct {
			UTCTimestamp         uint64
			ConnectionCloseEvent *struct{}
		}
	}
	b := recorded(t, "ReaderEventNotification-000", &want)
	w := want.ReaderEventNotificationData
	e, err := DecodeEvent(b)
	if err != nil {
		t.Fatal(err)
	}
	if e != (Event{Time: w.UTCTimestamp, Closed: w.ConnectionCloseEvent != nil}) || !e.Closed {
		t.Errorf("got %+v, want %+v", e, w)
	}
	if out := e.Encode(); !bytes.Equal(out, b) {
		t.Errorf("encoded % x, recorded % x", out, b)
	}
}

func TestRecordedReports(t *testing.T) {
	recorded(t, "roAccessReports/ROAccessReport-001", new(any)) // skips without the recordings
	names, err := filepath.Glob(filepath.FromSlash("../../../shared/data/llrp/roAccessReports/*.bytes"))
	if err != nil || len(names) < 9 {
		t.Fatalf("%d recorded reports, %v", len(names), err)
	}
	for _, path := range names {
		var want struct {
			TagReportData []struct {
				EPC96        struct{ EPC []byte }
				AntennaID    uint16
				PeakRSSI     int8
				FirstSeenUTC uint64
			}
		}
		name := strings.TrimSuffix(filepath.Base(path), ".bytes")
		b := recorded(t, "roAccessReports/"+name, &want)
		tags, err := DecodeReports(b)
		if err != nil || len(tags) != len(want.TagReportData) || len(tags) == 0 {
			t.Fatalf("%s: %d tags, %v; want %d", name, len(tags), err, len(want.TagReportData))
		}
		for i, w := range want.TagReportData {
			g := tags[i]
			if !bytes.Equal(g.EPC, w.EPC96.EPC) || g.Antenna != w.AntennaID || g.RSSI != w.PeakRSSI || g.First != w.FirstSeenUTC ||
				g.Has != HasAntenna|HasRSSI|HasFirstSeen || g.Uptime {
				t.Errorf("%s: got %+v, want %+v", name, g, w)
			}
		}
		if out, err := EncodeReports(tags); err != nil || !bytes.Equal(out, b) {
			t.Errorf("%s: encoded % x, recorded % x, %v", name, out, b, err)
		}
	}
}
