// Command probe uses devices as an agent does: through periph, not knowing who
// answers. Each verb prints one line per result.
package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpioreg"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2creg"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/conn/v3/spi/spireg"
	"periph.io/x/devices/v3/bmxx80"
	"periph.io/x/host/v3"
)

func main() {
	log.SetFlags(0)
	if _, err := host.Init(); err != nil {
		log.Fatal(err)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "drivers":
		state := driverreg.State{}
		if s, err := driverreg.Init(); err == nil {
			state = *s
		}
		for _, d := range state.Loaded {
			fmt.Println(d)
		}
		return nil
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(code)
	case "wait": // until a signal ends it
		fmt.Println("ready")
		select {}
	case "i2c":
		return i2cBytes(args)
	case "bme280":
		return sense()
	case "bench":
		return bench(args)
	case "many":
		return many(args)
	case "spi":
		return spiBytes(args)
	case "gpio":
		return gpioLines()
	case "orphan":
		return orphan()
	case "file":
		return file(args)
	case "echo":
		return echo(args)
	case "clock":
		return clock()
	}
	return fmt.Errorf("no verb %q", verb)
}

// i2cBytes writes the bytes of args[1] to a chip and reads as many as args[2].
func i2cBytes(args []string) error {
	bus, err := i2creg.Open("")
	if err != nil {
		return err
	}
	defer bus.Close()
	address, w, n, err := parse(args)
	if err != nil {
		return err
	}
	r := make([]byte, n)
	if err := (&i2c.Dev{Bus: bus, Addr: address}).Tx(w, r); err != nil || n == 0 {
		return err
	}
	fmt.Println(hex.EncodeToString(r))
	return nil
}

// sense prints °C, relative humidity and kPa of a BME280.
func sense() error {
	bus, err := i2creg.Open("")
	if err != nil {
		return err
	}
	defer bus.Close()
	chip, err := bmxx80.NewI2C(bus, 0x76, &bmxx80.DefaultOpts)
	if err != nil {
		return err
	}
	var e physic.Env
	if err := chip.Sense(&e); err != nil {
		return err
	}
	fmt.Printf("%.2f %.0f%% %.2f\n", e.Temperature.Celsius(), float64(e.Humidity)/float64(physic.PercentRH), float64(e.Pressure)/float64(physic.KiloPascal))
	return nil
}

func parse(args []string) (address uint16, w []byte, n int, err error) {
	a, err := strconv.ParseUint(args[0], 0, 16)
	if err != nil {
		return
	}
	if w, err = hex.DecodeString(args[1]); err != nil {
		return
	}
	n, err = strconv.Atoi(args[2])
	return uint16(a), w, n, err
}

// bench prints the microseconds that one transaction takes.
func bench(args []string) error {
	bus, err := i2creg.Open("")
	if err != nil {
		return err
	}
	defer bus.Close()
	const n = 5000
	w, r := []byte{0}, make([]byte, 8)
	start := time.Now()
	for range n {
		if err := bus.Tx(0x50, w, r); err != nil {
			return err
		}
	}
	fmt.Printf("%.1f\n", float64(time.Since(start).Microseconds())/n)
	return nil
}

// many has goroutines write a byte of their own each, read it back and compare.
func many(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, n)
	for g := range n {
		wg.Go(func() {
			bus, err := i2creg.Open("")
			if err != nil {
				failed <- err
				return
			}
			defer bus.Close()
			r := make([]byte, 1)
			for i := range 200 {
				want := byte(i ^ g)
				if err := bus.Tx(0x50, []byte{byte(g), want}, nil); err != nil {
					failed <- err
					return
				}
				if err := bus.Tx(0x50, []byte{byte(g)}, r); err != nil || r[0] != want {
					failed <- fmt.Errorf("goroutine %d round %d: got %#x, want %#x: %v", g, i, r[0], want, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		return err
	}
	fmt.Println("ok")
	return nil
}

// spiBytes sends args[0] and prints what comes back.
func spiBytes(args []string) error {
	port, err := spireg.Open("")
	if err != nil {
		return err
	}
	defer port.Close()
	mode := spi.Mode0
	if len(args) > 1 {
		mode = spi.Mode3
	}
	conn, err := port.Connect(physic.MegaHertz, mode, 8)
	if err != nil {
		return err
	}
	w, err := hex.DecodeString(args[0])
	if err != nil {
		return err
	}
	r := make([]byte, len(w))
	if err := conn.Tx(w, r); err != nil {
		return err
	}
	fmt.Println(hex.EncodeToString(r))
	// Two packets under one chip select, then a third.
	p := []spi.Packet{{W: w, R: make([]byte, len(w)), KeepCS: true}, {R: make([]byte, 2)}, {W: w[:1], R: make([]byte, 1)}}
	if err := conn.TxPackets(p); err != nil {
		return err
	}
	fmt.Println(hex.EncodeToString(p[0].R), hex.EncodeToString(p[1].R), hex.EncodeToString(p[2].R))
	return nil
}

// gpioLines turns the buzzer on and waits for the door to move twice.
func gpioLines() error {
	buzzer, door := gpioreg.ByName("BUZZER"), gpioreg.ByName("DOOR")
	if buzzer == nil || door == nil {
		return fmt.Errorf("lines %v and %v", buzzer, door)
	}
	if err := buzzer.Out(gpio.High); err != nil {
		return err
	}
	if err := door.In(gpio.PullUp, gpio.BothEdges); err != nil {
		return err
	}
	fmt.Println("door", door.Read())
	for range 2 {
		if !door.WaitForEdge(10 * time.Second) {
			return fmt.Errorf("the door did not move")
		}
		fmt.Println("edge", door.Read())
	}
	if door.WaitForEdge(50 * time.Millisecond) {
		return fmt.Errorf("an edge too many")
	}
	return buzzer.Out(gpio.Low)
}

// orphan uses a chip until that fails, and prints how.
func orphan() error {
	bus, err := i2creg.Open("")
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if err := bus.Tx(0x50, []byte{0}, make([]byte, 1)); err != nil {
			fmt.Println(err)
			return nil
		}
		if i == 0 {
			fmt.Println("ready", os.Getpid())
		}
	}
}

// file reads and writes the device as a file and asks it for a terminal.
func file(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 1))
	fmt.Println("read", n, err)
	n, err = f.Write([]byte{0})
	fmt.Println("write", n, err)
	_, err = unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	fmt.Println("tcgets", err)
	// The connector, and a netlink family that is none of ours.
	for _, family := range []int{unix.NETLINK_CONNECTOR, unix.NETLINK_ROUTE} {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM, family)
		fmt.Println("netlink", err)
		if err == nil {
			unix.Close(fd)
		}
	}
	_, err = unix.IoctlGetInt(int(f.Fd()), 0x07ff)
	fmt.Println("unknown", err)
	return nil
}

// echo sends a line to a serial port and prints what comes back.
func echo(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(args[1]); err != nil {
		return err
	}
	b := make([]byte, len(args[1]))
	if _, err := io.ReadFull(f, b); err != nil {
		return err
	}
	fmt.Printf("%q\n", b)
	return nil
}

// clock prints what the wall clock shows in s, by the runtime and by each system
// call, how far the clock since boot is off what it was told, whether adjtimex calls it
// disciplined, why it cannot be set, and what reading it costs.
func clock() error {
	var real, coarse, boot unix.Timespec
	var day unix.Timeval
	var tx unix.Timex
	now := time.Now()
	for id, ts := range map[int32]*unix.Timespec{unix.CLOCK_REALTIME: &real, unix.CLOCK_REALTIME_COARSE: &coarse, unix.CLOCK_BOOTTIME: &boot} {
		if err := unix.ClockGettime(id, ts); err != nil {
			return err
		}
	}
	if err := unix.Gettimeofday(&day); err != nil {
		return err
	}
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return err
	}
	fmt.Println(now.Unix(), real.Sec, coarse.Sec, day.Sec, tx.Time.Sec)
	fmt.Println(boot.Sec)
	fmt.Println(state == unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC != 0, tx.Maxerror)
	fmt.Println(unix.Settimeofday(&day), unix.ClockSettime(unix.CLOCK_REALTIME, &real))
	const n = 20000
	start := time.Now()
	for range n {
		now = time.Now()
	}
	wall := time.Since(start)
	for range n {
		_ = time.Since(start) // monotonic alone
	}
	fmt.Printf("%.1f µs for the wall clock, %.1f µs for the time since boot\n", float64(wall.Microseconds())/n, float64((time.Since(start)-wall).Microseconds())/n)
	return nil
}
