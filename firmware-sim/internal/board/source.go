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

// roomSamples is a month of the model.
const roomSamples = 30 * 24 * 60 / world.SampleMinutes

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

// open returns the source from start on. The folder is that of the board file.
func (s Source) open(folder string, seed uint64, start time.Time, step time.Duration) (chip.Source, error) {
	var series world.Series
	switch {
	case s.Constant != nil:
		v := *s.Constant
		return func(time.Time) float64 { return v }, nil
	case s.Room != nil:
		milli := func(degrees float64) int32 { return int32(math.Round(1000 * degrees)) }
		room := world.Room{Setpoint: milli(s.Room.Setpoint), Band: milli(s.Room.Band), Ambient: milli(s.Room.Ambient)}
		series, _ = room.Simulate(seed, roomSamples)
	default:
		name := s.Replay
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
		for _, r := range export.Readings {
			series = append(series, r.Milli)
		}
	}
	if s.Offset >= len(series) {
		return nil, fmt.Errorf("offset: %d of %d values", s.Offset, len(series))
	}
	return func(at time.Time) float64 {
		steps := max(0, int(at.Sub(start)/step))
		return float64(series[(s.Offset+steps%len(series))%len(series)]) / 1000
	}, nil
}
