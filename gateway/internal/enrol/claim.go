package enrol

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"trailmark/statement"
	"trailmark/trace"
)

// A Claim is what an installer fixes before a device is put up: which zone it
// will serve and within which limits. Its code works once.
type Claim struct {
	Code   string          `json:"code"`
	Zone   string          `json:"zone"`
	Name   statement.Texts `json:"name"`
	Limits []trace.Limit   `json:"limits"` // in thousandths of °C
	ReRead int64           `json:"reread_ms"`
	// Simulated: the device is vouched for by the authority for such, for ever.
	Simulated bool   `json:"simulated,omitempty"`
	Used      string `json:"used,omitempty"` // by which key
}

// Check refuses a claim that no plan could carry.
func (c Claim) Check() error {
	if c.Zone == "" || len(c.Zone) > statement.MaxName || len(c.Name) == 0 || c.ReRead < 1 {
		return errors.New("a claim needs a zone id, a zone name and a re-read interval")
	}
	return nil
}

// The code's alphabet leaves out what people confuse.
const alphabet = "ABCDEFGHJKMNPQRSTVWXYZ23456789"

// NewCode makes a claim code of 40 bits and more.
func NewCode() (string, error) {
	b := make([]byte, 9)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b[:3]) + "-" + string(b[3:6]) + "-" + string(b[6:]), nil
}

// badCode says why a code opens no claim, where the code is to blame.
type badCode string

func (b badCode) Error() string { return string(b) }

// claims are files, so that `gateway claim` works beside a running gateway.
func claimPath(dir, code string) (string, error) {
	for _, r := range code {
		if !strings.ContainsRune(alphabet+"-", r) {
			return "", badCode("a claim code has only capital letters, digits and hyphens")
		}
	}
	if len(code) < 9 || len(code) > 16 {
		return "", badCode("a claim code looks like ABC-DEF-GHJ")
	}
	return filepath.Join(dir, code+".json"), nil
}

// SaveClaim writes a claim; a code that is there already is refused.
func SaveClaim(dir string, c Claim) error {
	if err := c.Check(); err != nil {
		return err
	}
	path, err := claimPath(dir, c.Code)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("claim code %s exists already", c.Code)
	}
	return writeClaim(path, c)
}

func writeClaim(path string, c Claim) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, data, 0o600)
}

// WriteFile replaces a file whole; it is durable when WriteFile returns nil: a
// code must not be good again after a power cut.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func loadClaim(dir, code string) (Claim, string, error) {
	path, err := claimPath(dir, code)
	if err != nil {
		return Claim{}, "", err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Claim{}, "", badCode("claim code is not known")
	} else if err != nil {
		return Claim{}, "", err
	}
	var c Claim
	return c, path, json.Unmarshal(data, &c)
}

// claimOf is the claim that a key used.
func claimOf(dir string, kid statement.Hash) (Claim, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return Claim{}, err
	}
	for _, name := range names {
		c, _, err := loadClaim(dir, strings.TrimSuffix(filepath.Base(name), ".json"))
		if err != nil {
			return Claim{}, fmt.Errorf("%s: %w", name, err)
		}
		if c.Used == kid.String() {
			return c, nil
		}
	}
	return Claim{}, fmt.Errorf("no claim was used by key %.8s…", kid)
}

// ParseTexts reads "zh-CN=产地冷库,en=Origin cold store".
func ParseTexts(s string) (statement.Texts, error) {
	var out statement.Texts
	for _, part := range strings.Split(s, ",") {
		lang, words, ok := strings.Cut(part, "=")
		if !ok || lang == "" || words == "" {
			return nil, fmt.Errorf("%q is not like zh-CN=产地冷库,en=Cold store", s)
		}
		out = append(out, statement.Text{Lang: strings.TrimSpace(lang), Words: strings.TrimSpace(words)})
	}
	return out, nil
}

// ParseBand reads "2..8" (°C) as the limits of a band whose ends count as in:
// beyond is 8.001 and over, 1.999 and under.
func ParseBand(s string) ([]trace.Limit, error) {
	lo, hi, ok := strings.Cut(s, "..")
	a, err1 := strconv.ParseFloat(lo, 64)
	b, err2 := strconv.ParseFloat(hi, 64)
	if !ok || err1 != nil || err2 != nil || !(a < b) || a < -273 || b > 1000 {
		return nil, fmt.Errorf("%q is not a band like 2..8", s)
	}
	return []trace.Limit{
		{Comparison: trace.AtOrBelow, Value: int64(math.Round(a*1000)) - 1},
		{Comparison: trace.AtOrAbove, Value: int64(math.Round(b*1000)) + 1},
	}, nil
}
