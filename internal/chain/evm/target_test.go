package evm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
)

const someAddress = "0x7261696c6d61726b000000000000000000000001"

func TestParseTarget(t *testing.T) {
	got, err := ParseTarget("evm+https://a.example/v3/key,http://user:secret@b.example:8545,http://c.example#" + someAddress +
		",chain=1,depth=12,quorum=3,max-fee=80,bump=90s,fees=legacy")
	if err != nil || len(got.RPCs) != 3 || got.ChainID != 1 || got.Depth != 12 || got.Quorum != 3 || got.Bump != 90*time.Second || !got.Legacy ||
		got.MaxFee.Int64() != 80e9 || strings.ToLower(got.Contract.Hex()) != someAddress {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = ParseTarget("evm+http://127.0.0.1:8545#" + someAddress); err != nil || got.Depth != -1 || got.Quorum != 1 || got.MaxFee == nil {
		t.Errorf("%+v, %v", got, err)
	}
	for in, want := range map[string]string{
		"https://a.example#" + someAddress:                           "evm+",
		"evm+ftp://a.example#" + someAddress:                         "no http",
		"evm+#" + someAddress:                                        "no http",
		"evm+http://a#0x12":                                          "40 hex digits",
		"evm+http://a#" + someAddress + ",colour=red":                "no such option",
		"evm+http://a#" + someAddress + ",depth":                     "key=value",
		"evm+http://a#" + someAddress + ",depth=-1":                  "from 0 to",
		"evm+http://a#" + someAddress + ",quorum=0":                  "1 or more",
		"evm+http://a#" + someAddress + ",quorum=2":                  "quorum of 2 of 1",
		"evm+http://a#" + someAddress + ",fees=cheap":                "no such option",
		"evm+http://a#" + someAddress + ",bump=1ms":                  "100ms",
		"evm+http://a#" + someAddress + ",chain=99999999999999999":   "out of range",
		"evm+" + strings.Repeat("http://a,", 16) + "http://a#":       "at most 16",
		"http://user:secret@a.example/token#" + someAddress + ",x=1": "evm+",
	} {
		if _, err := ParseTarget(in); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token") {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("evm+http://a,https://b/x#" + someAddress + ",chain=1,depth=12")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTarget(s)
		if err == nil && (len(got.RPCs) == 0 || got.Quorum < 1 || got.Quorum > len(got.RPCs)) {
			t.Errorf("%q: %+v", s, got)
		}
	})
}

// A journal that was cut, altered or is another's is refused with what to do.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	client, err := Dial(Target{RPCs: []string{"http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	open := func() error {
		s, err := NewSubmitter(Options{Client: client, Signer: Local{key}, Dir: dir})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	path := filepath.Join(dir, journalFile)
	for text, want := range map[string]string{
		"":                             "EOF",
		"{":                            "unexpected EOF",
		`{"version":2}`:                "version 2",
		`{"version":1,"colour":"red"}`: "unknown field",
		`{"version":1,"in_flight":{"nonce":1,"attempts":[]}}`:                                                        "0 attempts",
		`{"version":1,"in_flight":{"nonce":1,"attempts":[{"raw":"0x00","heads":[],"made":"2026-01-01T00:00:00Z"}]}}`: "attempt 0",
		`{"version":1,"address":"0x7261696c6d61726b000000000000000000000001"}`:                                       "is of key",
		`{"version":1,"cost":{"transactions":1,"heads":1,"gas":1,"wei":"` + strings.Repeat("9", 101) + `"}}`:         "101 digits",
		strings.Repeat(" ", maxJournal+1):                                                                            "over the limit",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := open(); err != nil {
		t.Error(err)
	}
	if _, err := ReadReport(t.TempDir()); err == nil {
		t.Error("a report of no journal")
	}
}

func FuzzJournal(f *testing.F) {
	j := journal{Version: 1}
	j.alarm("reorg", "x", time.Unix(0, 0))
	j.park(headOf(3), "y", time.Unix(0, 0))
	good, err := json.Marshal(&j)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		if j, err := parseJournal(data); err == nil {
			_ = j.report(Progress{}, view{}, nil)
			if _, err := json.Marshal(j); err != nil {
				t.Error(err)
			}
		}
	})
}
