package world

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	cold    = Room{Setpoint: 5000, Band: 1000, Ambient: 24000}
	frozen  = Room{Setpoint: -18000, Band: 1500, Ambient: 24000, Swing: 5000}
	passive = Room{Ambient: 18000, Swing: 6000, Passive: true}
)

// follow returns the conditions of every step of a stretch of a room's time.
func follow(c *Climate, from, to time.Duration) []Conditions {
	var all []Conditions
	for t := from; t < to; t += stepTime {
		all = append(all, c.At(t))
	}
	return all
}

func extremes(cs []Conditions, of func(Conditions) int32) (lowest, highest int32) {
	lowest, highest = math.MaxInt32, math.MinInt32
	for _, c := range cs {
		lowest, highest = min(lowest, of(c)), max(highest, of(c))
	}
	return lowest, highest
}

func air(c Conditions) int32     { return c.Air }
func product(c Conditions) int32 { return c.Product }
func outside(c Conditions) int32 { return c.Outside }

// One moment has one answer: whoever asks, however often, in any order.
func TestClimateIsAFunction(t *testing.T) {
	const days = 20
	forward := cold.Climate(7)
	want := map[time.Duration]Conditions{}
	for at := time.Duration(0); at < days*24*time.Hour; at += 17 * time.Minute {
		want[at] = forward.At(at)
	}
	order := slices.Collect(func(yield func(time.Duration) bool) {
		for at := range want { // in no order
			if !yield(at) {
				return
			}
		}
	})
	shared := cold.Climate(7)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 2 {
				for _, at := range order {
					if got := shared.At(at); got != want[at] {
						t.Errorf("at %v: %+v, in order it was %+v", at, got, want[at])
						return
					}
				}
			}
		})
	}
	readers.Wait()
	if cold.Climate(8).At(days*24*time.Hour) == forward.At(days*24*time.Hour) {
		t.Error("a seed decides nothing")
	}
	if at := 5 * time.Hour; forward.At(Horizon+at) != forward.At(at) || forward.At(-at) != forward.At(0) {
		t.Error("it does not begin again at the horizon, or before its beginning it is not as at it")
	}
}

// Heat goes from warm to cold and nowhere else: what one mass gets is what the
// other and the flows through the walls and from the compressor account for.
func TestEnergyBalance(t *testing.T) {
	still := Room{Setpoint: 5000, Band: 1000, Ambient: 24000, Outages: []Span{{0, Horizon}}}
	c := still.Climate(3)
	for hour := range 200 {
		s := c.reach(int64(hour) * 360)
		outside, n := c.outside(s.step), c.next(s)
		door, _ := c.door(s.step)
		if n.running {
			t.Fatalf("hour %d: the compressor runs without power", hour)
		}
		stored := (n.air - s.air) + goodsMass*(n.product-s.product)
		came := (outside - s.air) * (wallShare + door) / million
		if d := stored - came; d < -2*goodsMass || d > 2*goodsMass { // whole numbers round
			t.Errorf("hour %d: %d stored, %d came in", hour, stored, came)
		}
		if (n.product-s.product)*(s.air-s.product) < 0 || came < 0 {
			t.Errorf("hour %d: heat goes from cold to warm", hour)
		}
		if n.air > outside || n.product > outside {
			t.Errorf("hour %d: warmer than outside", hour)
		}
	}
	if end := c.At(200 * time.Hour); end.Air < 20_000 || end.Product < 20_000 {
		t.Errorf("after 200 h without a compressor %+v, want about the 24 °C outside", end)
	}
}

// The goods follow the air with the time constant of their mass: after so long
// a 1/e of the difference is left.
func TestTimeConstant(t *testing.T) {
	c := passive.Climate(1)
	const tau = goodsMass * million / goodsShare * int64(stepTime) // 5.2 h
	s := state{air: 20 * million, product: 0}
	for range tau / int64(stepTime) {
		s = c.next(s)
		s.air = 20 * million // held
	}
	if left := float64(20*million-s.product) / (20 * million); math.Abs(left-1/math.E) > 0.01 {
		t.Errorf("%.3f of the difference is left after %v, want %.3f", left, time.Duration(tau), 1/math.E)
	}
}

func TestHysteresis(t *testing.T) {
	for name, r := range map[string]Room{"cold": cold, "frozen": frozen} {
		t.Run(name, func(t *testing.T) {
			all := follow(r.Climate(7), 0, 7*24*time.Hour)
			starts := 0
			for i, c := range all[1:] {
				before := all[i]
				if c.Running && c.Defrosting {
					t.Fatal("it cools while it thaws")
				}
				if c.Running && !before.Running {
					starts++
					if before.Air <= r.Setpoint+r.Band-1 {
						t.Errorf("started at %d", before.Air)
					}
				}
				if !c.Running && before.Running && !c.Defrosting && before.Air >= r.Setpoint-r.Band+1 {
					t.Errorf("stopped at %d", before.Air)
				}
			}
			if period := 7 * 24 * time.Hour / time.Duration(starts); period < 5*time.Minute || period > 2*time.Hour {
				t.Errorf("a cycle takes %v", period)
			}
			lowest, highest := extremes(all, air)
			cool, warm := extremes(all, product)
			if cool <= lowest || warm >= highest {
				t.Errorf("air %d to %d, product %d to %d: it must swing less", lowest, highest, cool, warm)
			}
		})
	}
}

// A defrosting shows in the air, and hardly in the goods.
func TestDefrost(t *testing.T) {
	c := frozen.Climate(5)
	seen := 0
	for at := 24 * time.Hour; at < 5*24*time.Hour; at += stepTime {
		if !c.At(at).Defrosting || c.At(at-stepTime).Defrosting {
			continue
		}
		seen++
		before, during := c.At(at), follow(c, at, at+heated+5*time.Minute)
		_, air := extremes(during, air)
		_, goods := extremes(during, product)
		if air-before.Air < 2000 || goods-before.Product > 500 {
			t.Errorf("at %v air rises by %d, goods by %d m°C", at, air-before.Air, goods-before.Product)
		}
		if end := during[len(during)-1]; end.Humidity < before.Humidity {
			t.Errorf("at %v humidity goes from %.0f to %.0f %%", at, before.Humidity, end.Humidity)
		}
	}
	if seen != 16 {
		t.Errorf("%d defrostings in four days, want one each 6 h", seen)
	}
}

// An open door pulls the air to what is outside, and so does a compressor
// without power; both for as long as it lasts.
func TestDoorsAndOutages(t *testing.T) {
	base := cold
	span := []Span{{From: 50 * time.Hour, To: 53 * time.Hour}}
	calm := follow(base.Climate(2), 50*time.Hour, 53*time.Hour)
	for name, spoil := range map[string]func(*Room){
		"door":   func(r *Room) { r.Doors = span },
		"outage": func(r *Room) { r.Outages = span },
	} {
		r := base
		spoil(&r)
		c := r.Climate(2)
		_, before := extremes(calm, air)
		_, after := extremes(follow(c, 50*time.Hour, 53*time.Hour), air)
		if after <= before+500 || after > r.Ambient {
			t.Errorf("%s: warmest air %d, without it %d", name, after, before)
		}
		if c.At(span[0].From-stepTime) != base.Climate(2).At(span[0].From-stepTime) {
			t.Errorf("%s: it acts before it happens", name)
		}
		if late := c.At(span[0].To + 3*time.Hour); late.Air > r.Setpoint+2*r.Band+1000 {
			t.Errorf("%s: three hours later the air is at %d", name, late.Air)
		}
	}
	c := base.Climate(2)
	base.Doors = span
	if !base.Climate(2).At(51*time.Hour).Open || slices.ContainsFunc(follow(c, 15*time.Hour, 15*time.Hour+time.Minute), func(c Conditions) bool { return c.Open }) {
		t.Error("the door is not open when it should be, or at night")
	}
}

// A door left ajar makes a breach about once in a month.
func TestMonth(t *testing.T) {
	const month = 30 * 24 * 60 / SampleMinutes
	air, product := cold.Simulate(7, month)
	within := 0
	for _, v := range air {
		if v >= 3500 && v <= 6500 {
			within++
		}
	}
	if within < month*85/100 {
		t.Errorf("air near the band in %d of %d samples", within, month)
	}
	if top := slices.Max(air); top < 8000 || top > cold.Ambient {
		t.Errorf("hottest air %d, want a breach of 8 °C, yet no more than outside", top)
	}
	if slices.Max(product) > 8000 || slices.Min(product) < 2000 {
		t.Errorf("product %d to %d, want it within 2 to 8 °C", slices.Min(product), slices.Max(product))
	}
}

func TestMerge(t *testing.T) {
	got := merge([]Span{{5, 9}, {1, 2}, {2, 3}, {6, 7}, {20, 30}})
	if want := []Span{{1, 3}, {5, 9}, {20, 30}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOutside(t *testing.T) {
	c := passive.Climate(4)
	for day := range 10 {
		morning := time.Duration(day)*24*time.Hour - Morning
		night, noon := c.At(morning+27*time.Hour), c.At(morning+39*time.Hour) // 03:00 and 15:00 of the next day
		if d := noon.Outside - night.Outside; d < passive.Swing || d > 3*passive.Swing {
			t.Errorf("day %d: %d in the night, %d in the afternoon", day, night.Outside, noon.Outside)
		}
	}
	month := follow(c, 0, 30*24*time.Hour)
	lowest, highest := extremes(month, outside)
	if lowest < passive.Ambient-2*passive.Swing || highest > passive.Ambient+2*passive.Swing {
		t.Errorf("outside %d to %d", lowest, highest)
	}
	indoors, top := extremes(month, air)
	if indoors <= lowest || top >= highest {
		t.Errorf("indoors %d to %d, outside %d to %d: walls must damp it", indoors, top, lowest, highest)
	}
	for turn, want := range map[int64]int64{0: 0, 250_000: million, 750_000: -million, -250_000: -million, 83_333: 500_000} {
		if got := sine(turn); got < want-2000 || got > want+2000 {
			t.Errorf("sine of %d is %d, want %d", turn, got, want)
		}
	}
}

// Humidity is that of air which an evaporator dries; pressure is that of weather.
func TestHumidityAndPressure(t *testing.T) {
	for name, r := range map[string]Room{"cold": cold, "frozen": frozen, "passive": passive} {
		sum, n := 0.0, 0
		for _, c := range follow(r.Climate(9), 24*time.Hour, 15*24*time.Hour) {
			if !(c.Humidity > 10 && c.Humidity <= 100) || !(c.Pressure > 98_000 && c.Pressure < 104_000) {
				t.Fatalf("%s: %.1f %%, %.0f Pa", name, c.Humidity, c.Pressure)
			}
			sum, n = sum+c.Humidity, n+1
		}
		if mean := sum / float64(n); mean < 45 || mean > 90 {
			t.Errorf("%s: %.0f %% on average", name, mean)
		}
	}
	// 17.3 g/m³ at 20 °C, 4.85 at 0 °C, by any psychrometric table.
	for micro, want := range map[int64]int64{20 * million: 17_300_000, 0: 4_850_000} {
		if got := saturation(micro); math.Abs(float64(got-want)) > 0.01*float64(want) {
			t.Errorf("%d µ°C: %d µg/m³, want %d", micro, got, want)
		}
	}
}

// Whatever a file asks for, the model stays a number.
func TestExtremeRooms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	degrees := func() int32 { return random.Int32N(400_001) - 200_000 }
	for range 50 {
		r := Room{Setpoint: degrees(), Band: degrees(), Ambient: degrees(), Swing: degrees(), Passive: random.IntN(2) == 0}
		for _, c := range follow(r.Climate(random.Uint64()), 0, 24*time.Hour) {
			if c.Air < -1_000_000 || c.Air > 1_000_000 || math.IsNaN(c.Humidity) || c.Humidity < 0 {
				t.Fatalf("%+v makes %+v", r, c)
			}
		}
	}
}

// The exact numbers: whoever changes the model changes every story told with it.
func TestRoomGolden(t *testing.T) {
	air, product := cold.Simulate(1, 6)
	if want := (Series{5041, 5574, 5211, 4479, 5265, 5767}); !slices.Equal(air, want) {
		t.Errorf("air %v, want %v", air, want)
	}
	if want := (Series{4983, 5031, 4975, 5059, 4987, 5012}); !slices.Equal(product, want) {
		t.Errorf("product %v, want %v", product, want)
	}
}

func BenchmarkClimateRandom(b *testing.B) {
	c := frozen.Climate(1)
	c.At(Horizon - stepTime)
	for i := 0; b.Loop(); i++ {
		c.At(time.Duration(i*7919%8700)*time.Hour + 31*time.Minute)
	}
}
