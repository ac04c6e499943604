package hardware

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpioreg"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/conn/v3/spi/spireg"

	"trailmark/agent/internal/config"
	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/rfid/llrp"
	"trailmark/agent/internal/rfid/mfrc522"
	"trailmark/agent/internal/rfid/r200"
	"trailmark/agent/internal/station"
	wire "trailmark/internal/r200"
)

// Names that the antennas of the i'th reader of a kind begin with.
func nameMFRC522(i int) string { return fmt.Sprintf("mfrc522-%d", i) }
func nameR200(i int) string    { return fmt.Sprintf("r200-%d", i) }
func nameLLRP(i int) string    { return fmt.Sprintf("llrp%d", i) }

// Antennas are the antennas of the readers in c, as the station names them.
func Antennas(c config.File) []string {
	out := []string{}
	for i := range c.MFRC522 {
		out = append(out, nameMFRC522(i)+"/1")
	}
	for i := range c.R200 {
		out = append(out, nameR200(i)+"/1")
	}
	for i, r := range c.LLRP {
		for a := range r.Count() {
			out = append(out, fmt.Sprintf("%s/%d", nameLLRP(i), a+1))
		}
	}
	return out
}

// refuseStrangers finds thresholds and portals of antennas that no reader has: a
// misspelt one would watch nothing.
func (h *Hardware) refuseStrangers(c config.File) {
	has := Antennas(c)
	use := func(where, name string) {
		if !slices.Contains(has, name) {
			h.found(Finding{Part: where, Fatal: true, Err: fmt.Errorf("no reader has an antenna %s\nhint: there are %s", name, strings.Join(has, ", "))})
		}
	}
	for _, a := range c.Antennas {
		use("antennas", a.Antenna)
	}
	for _, p := range c.Portals {
		use("portal "+p.Name, p.Outer)
		use("portal "+p.Name, p.Inner)
	}
}

// mfrc522Clock is the chip's fastest (data sheet, table 155).
const mfrc522Clock = 10 * physic.MegaHertz

func (h *Hardware) openMFRC522(i int, c config.MFRC522, log *slog.Logger) {
	name := nameMFRC522(i)
	fail := func(err error) { h.found(Finding{Part: name, Err: err, Fatal: !c.Optional, Optional: c.Optional}) }
	port, err := spireg.Open(c.Port)
	if err != nil {
		fail(reach("/dev/spidev"+strings.TrimPrefix(c.Port, "SPI"), err, "dtparam=spi=on", "spi"))
		return
	}
	h.closers = append(h.closers, port)
	conn, err := port.Connect(mfrc522Clock, spi.Mode0, 8)
	if err != nil {
		fail(fmt.Errorf("%s: %w", c.Port, err))
		return
	}
	var reset gpio.PinOut
	if c.Reset != "" {
		if reset, err = pin(c.Reset); err != nil {
			fail(err)
			return
		}
	}
	h.Readers = append(h.Readers, station.Reader{Name: name, Open: func(status func(bool, string)) (rfid.Reader, error) {
		return mfrc522.New(mfrc522.Options{Conn: conn, Reset: reset, Status: status, Log: log})
	}})
	h.found(Finding{Part: name, Found: c.Port})
}

// pin finds a line by the name that the kernel gives it.
func pin(name string) (gpio.PinIO, error) {
	p := gpioreg.ByName(name)
	if p == nil {
		return nil, fmt.Errorf("no GPIO line is called %q\nhint: gpioinfo lists the names; this user must be in the group gpio", name)
	}
	return p, nil
}

func (h *Hardware) openR200(i int, c config.R200, log *slog.Logger) {
	name := nameR200(i)
	var region wire.Region
	if c.Region != "" {
		var err error
		if region, err = wire.ParseRegion(c.Region); err != nil {
			h.found(Finding{Part: name, Err: err, Fatal: true})
			return
		}
	}
	// The driver opens the port, each time that the module is plugged in anew: only
	// one that nobody could ever open is told here.
	if _, err := os.Stat(c.Port); err != nil && !c.Optional {
		h.found(Finding{Part: name, Err: reach(c.Port, err, "enable_uart=1", "dialout"), Fatal: true})
		return
	}
	h.Readers = append(h.Readers, station.Reader{Name: name, Open: func(status func(bool, string)) (rfid.Reader, error) {
		return r200.New(r200.Options{Port: c.Port, Region: region, Power: c.Power, Status: status, Log: log})
	}})
	h.found(Finding{Part: name, Found: c.Port})
}

func (h *Hardware) openLLRP(i int, c config.LLRP, log *slog.Logger) {
	name := nameLLRP(i)
	antennas := make([]uint16, c.Count())
	for a := range antennas {
		antennas[a] = uint16(a + 1)
	}
	o := llrp.Options{Address: c.Address, Antennas: antennas, Log: log}
	var err error
	switch {
	case c.Fingerprint != "":
		o.TLS, err = llrp.Pinned(c.Fingerprint)
	case c.TLS:
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12} // readers are older than TLS 1.3
	}
	if err == nil {
		_, err = llrp.New(o)
	}
	if err != nil {
		h.found(Finding{Part: name, Err: err, Fatal: true})
		return
	}
	h.Readers = append(h.Readers, station.Reader{Name: name, Open: func(status func(bool, string)) (rfid.Reader, error) {
		o := o
		o.Status = status
		return llrp.New(o)
	}})
	h.found(Finding{Part: name, Found: o.Address})
}
