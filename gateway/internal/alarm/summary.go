package alarm

import (
	"context"
	"errors"
	"math"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// DefaultEnergy is the activation energy of a mean kinetic temperature in kJ/mol,
// as USP uses it.
const DefaultEnergy = 83.144

const gasConstant = 8.3144 // J/(mol·K)

// A Summary is what a span of readings comes to: what people compare with a
// logger's own figures. It is recomputed from stored readings and is no proof; a
// passport's figures are.
type Summary struct {
	Readings     int
	Min, Max     int64 // thousandths
	MinAt, MaxAt int64 // ms
	Mean         float64
	MKT          float64 // °C, of the readings alike; only of temperatures
	Energy       float64 // kJ/mol of MKT
	Beyond       []int64 // ms beyond each limit, a reading standing for the time since the one before
}

// Summarise goes through a channel's readings in (from, to] ms, under all keys of
// its device. What was erased is not in it.
func Summarise(ctx context.Context, st *store.Store, kids []statement.Hash, channel string, from, to int64, energy float64, limits ...trace.Limit) (Summary, error) {
	s := Summary{Energy: energy, Beyond: make([]int64, len(limits))}
	var sum, kinetic float64
	k := energy * 1000 / gasConstant
	for _, kid := range kids {
		blocks, err := st.BlocksIn(ctx, kid, channel, from, to+1)
		if err != nil {
			return s, err
		}
		for _, b := range blocks {
			row, err := st.Statement(ctx, b.Index)
			if err != nil {
				return s, err
			}
			d, err := row.Delivery()
			if err != nil {
				return s, err
			}
			one := &frameJudge{}
			if p, err := st.EntryOf(ctx, kid, channel, b.Start.Hash()); err == nil && p != nil {
				one.entries = []entry{{Channel: *p}}
			} else if err != nil && !errors.Is(err, store.ErrNotFound) {
				return s, err
			}
			for _, it := range one.items(d.Contents) {
				if it.happens != nil || it.name != channel {
					continue
				}
				for i, l := range limits {
					if l.Beyond(it.value) {
						s.Beyond[i] += max(0, min(it.at, to)-max(it.from, from))
					}
				}
				if it.at <= from || it.at > to {
					continue
				}
				if s.Readings == 0 || it.value < s.Min {
					s.Min, s.MinAt = it.value, it.at
				}
				if s.Readings == 0 || it.value > s.Max {
					s.Max, s.MaxAt = it.value, it.at
				}
				s.Readings++
				v := float64(it.value) / 1000
				sum += v
				kinetic += math.Exp(-k / (v + 273.15))
			}
		}
	}
	if s.Readings > 0 {
		n := float64(s.Readings)
		s.Mean, s.MKT = sum/n, k/-math.Log(kinetic/n)-273.15
	}
	return s, nil
}

// Readings sums up the readings of an alarm's channel from its start to a time.
func (e *Engine) Readings(ctx context.Context, a store.Alarm, to int64) (Summary, error) {
	var m memory
	if _, err := e.store.AlarmState(ctx, a.Device, &m); err != nil {
		return Summary{}, err
	}
	return Summarise(ctx, e.store, m.Kids, a.Channel, a.Start, to, DefaultEnergy)
}
