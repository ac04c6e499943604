package board

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/internal/logger"
	"trailmark/firmware-sim/internal/world"
)

// maxDegrees bounds a room, in °C either way.
const maxDegrees = 200

func (s Source) check() error {
	n := 0
	if s.Constant != nil {
		if n++; math.IsNaN(*s.Constant) || math.IsInf(*s.Constant, 0) {
			return fmt.Errorf("constant: %v", *s.Constant)
		}
	}
	if s.Room != nil {
		n++
		for _, v := range [...]float64{s.Room.Setpoint, s.Room.Band, s.Room.Ambient} {
			if !(math.Abs(v) <= maxDegrees) {
				return fmt.Errorf("room: %v °C, at most %d either way", v, maxDegrees)
			}
		}
	}
	if s.Replay != "" {
		n++
	}
	if n != 1 {
		return errors.New("want one of constant, room and replay")
	}
	if s.Offset < 0 || s.Offset > 0 && s.Constant != nil {
		return fmt.Errorf("offset: %d, want a value of the room or the export", s.Offset)
	}
	return nil
}

// Quantities that a chip feels.
const (
	celsius  = "celsius"
	humidity = "humidity" // %RH
	pascal   = "pascal"
)

// open returns what the source gives from start on, by quantity. The folder is that
// of the board file.
func (s Source) open(folder string, seed uint64, start time.Time, step time.Duration) (map[string]chip.Source, error) {
	var values int
	var felt map[string]func(n int) float64
	switch {
	case s.Constant != nil:
		v := *s.Constant
		constant := func(int) float64 { return v }
		values, felt = 1, map[string]func(int) float64{celsius: constant, humidity: constant, pascal: constant}
	case s.Room != nil:
		values = roomValues
		felt = s.Room.open(seed)
		felt[celsius](min(s.Offset, values)) // it takes the model a while to get there, once
	default:
		series, err := replay(folder, s.Replay)
		if err != nil {
			return nil, err
		}
		values = len(series)
		felt = map[string]func(int) float64{celsius: func(n int) float64 { return float64(series[n]) / 1000 }}
	}
	if s.Offset >= values {
		return nil, fmt.Errorf("offset: %d of %d values", s.Offset, values)
	}
	sources := map[string]chip.Source{}
	for quantity, value := range felt {
		sources[quantity] = func(at time.Time) float64 {
			steps := max(0, int(at.Sub(start)/step))
			return value((s.Offset + steps%values) % values)
		}
	}
	return sources, nil
}

const sample = world.SampleMinutes * time.Minute

// roomValues is how many values a room has until it begins again: a month.
const roomValues = int(30 * 24 * time.Hour / sample)

// open returns the n-th value of the air in the room, by quantity.
func (r Room) open(seed uint64) map[string]func(n int) float64 {
	milli := func(degrees float64) int32 { return int32(math.Round(1000 * degrees)) }
	room := world.Room{Setpoint: milli(r.Setpoint), Band: milli(r.Band), Ambient: milli(r.Ambient)}
	climate := room.Climate(seed)
	at := func(n int) world.Conditions { return climate.At(time.Duration(n) * sample) }
	return map[string]func(int) float64{
		celsius:  func(n int) float64 { return float64(at(n).Air) / 1000 },
		humidity: func(n int) float64 { return at(n).Humidity },
		pascal:   func(n int) float64 { return at(n).Pressure },
	}
}

// replay reads a logger's export.
func replay(folder, name string) (world.Series, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	defer f.Close()
	export, err := logger.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", name, err)
	}
	var series world.Series
	for _, r := range export.Readings {
		series = append(series, r.Milli)
	}
	return series, nil
}
