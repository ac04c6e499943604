package world

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"sync"
	"time"
)

// A Series is a temperature over time in thousandths of a degree Celsius, one
// value per sample period. It repeats when it ends.
type Series []int32

// SampleMinutes is the sample period of a modelled Series: that of the logger
// files that can stand in its place.
const SampleMinutes = 5

// Horizon is how long a Climate goes on before it begins again.
const Horizon = 366 * 24 * time.Hour

// Room is a room of about 30 m³ with goods in it. Temperatures are thousandths
// of a degree Celsius. Times in it are the room's own, from 0, which is at Morning.
type Room struct {
	Setpoint int32  // the thermostat's; where the room is in equilibrium at time 0
	Band     int32  // the compressor starts this far above the set point and stops this far below
	Ambient  int32  // outside the walls and the door, mean of a day
	Swing    int32  // amplitude of a day outside; warm and cool spells add half as much
	Passive  bool   // no compressor: the room follows what is outside
	Doors    []Span // when the door is open besides people's coming and going
	Outages  []Span // when the compressor has no power
}

// A Span is a stretch of time, its end left out.
type Span struct{ From, To time.Duration }

// Morning is the time of day at which a room's time begins.
const Morning = 8 * time.Hour

// A Climate is the weather inside and outside of one Room. It is a function of
// the room and a seed: asked twice about one moment it gives one answer, on every
// machine, since it computes in whole millionths of a degree. It is safe for
// concurrent use.
type Climate struct {
	room    Room
	seed    uint64
	defrost int64 // step at which the first defrosting begins

	mu    sync.Mutex
	marks []state // guarded by mu: the states at steps 0, perMark, 2 perMark ..., as far as anybody asked
	last  state   // guarded by mu: the one asked for last
}

// Conditions are what there is to sense in a room at a moment.
type Conditions struct {
	Air, Product, Outside int32   // thousandths of a degree Celsius
	Humidity              float64 // relative, of the air, %
	Pressure              float64 // Pa
	Running               bool    // the compressor
	Defrosting            bool
	Open                  bool // the door
}

// state is what the model carries from step to step.
type state struct {
	step         int64
	air, product int64 // millionths of a degree Celsius
	vapour       int64 // µg/m³
	running      bool
}

// The model: two thermal masses, the air (with shelves and evaporator, 200 kJ/K)
// and the goods (2.8 MJ/K: 800 kg of mostly water), and the water in the air. Heat
// comes through the walls (25 W/K) and the door (150 W/K through its curtain, 250
// when it stands ajar), goes between air and goods (150 W/K) and out by a
// compressor (2.5 kW). Shares are millionths of a difference that one step evens
// out; both are by heat capacity, so what leaves one mass arrives in the other.
const (
	stepTime = 10 * time.Second
	million  = 1_000_000

	wallShare  = 1_250  // 25 W/K * 10 s / 200 kJ/K
	doorShare  = 7_500  // 150 W/K
	ajarShare  = 12_500 // 250 W/K
	goodsShare = 7_500  // 150 W/K, of the air
	goodsMass  = 14     // times that of the air
	coolStep   = 125_000
	heatStep   = 30_000 // 600 W of a defrosting heater that reach the air

	leakShare    = 200     // air exchanged in a step: of the walls,
	doorAir      = 42_000  // of the door,
	ajarAir      = 70_000  // ajar,
	coilAir      = 160_000 // and over the evaporator, which takes its water down to
	coilBelow    = 8 * million
	damp         = 250    // µg/m³ that goods and floor give off in a step
	meltingDamp  = 40_000 // that the evaporator gives back while it thaws
	outsideDamp  = 60     // % relative humidity
	defrostEvery = 6 * time.Hour
	offCycle     = 15 * time.Minute // above 0 °C the fan thaws the evaporator,
	heated       = 20 * time.Minute // below a heater does

	slotTime   = 30 * time.Minute // people open the door at most once in it,
	busyOdds   = 60               // in so many of a hundred by day
	quietOdds  = 5                // and by night
	ajarOneIn  = 150              // openings after which it is left ajar
	noiseMilli = 60               // a sensor is off by at most this much

	perMark  = 360 // steps: an hour
	lastStep = int64(Horizon / stepTime)
)

// Climate returns the weather in r.
func (r Room) Climate(seed uint64) *Climate {
	r.Doors, r.Outages = merge(r.Doors), merge(r.Outages)
	c := &Climate{room: r, seed: seed}
	c.defrost = int64(c.luck(luckDefrost, 0) % uint64(defrostEvery/stepTime))
	first := state{air: int64(r.Setpoint) * 1000, product: int64(r.Setpoint) * 1000}
	if r.Passive {
		first.air, first.product = c.outside(0), c.outside(0)
	}
	first.vapour = saturation(first.air) * 7 / 10
	c.marks, c.last = []state{first}, first
	return c
}

// At returns the conditions at a time of the room; before 0 those at 0, after
// Horizon those of the beginning again.
func (c *Climate) At(t time.Duration) Conditions {
	step := max(0, int64(t/stepTime)) % lastStep
	s := c.reach(step)
	outside := c.outside(step)
	share, _ := c.door(step)
	defrosting := c.defrosting(step)
	return Conditions{
		Air: int32(s.air / 1000), Product: int32(s.product / 1000), Outside: int32(outside / 1000),
		Humidity: 100 * float64(s.vapour) / float64(saturation(s.air)), Pressure: float64(c.pressure(step)),
		Running: s.running && !defrosting, Defrosting: defrosting, Open: share > 0,
	}
}

// reach returns the state at a step, from the nearest one known before it.
func (c *Climate) reach(step int64) state {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.marks[min(step/perMark, int64(len(c.marks)-1))]
	if c.last.step <= step && c.last.step > s.step {
		s = c.last
	}
	for s.step < step {
		s = c.next(s)
		if s.step == int64(len(c.marks))*perMark {
			c.marks = append(c.marks, s)
		}
	}
	c.last = s
	return s
}

// next is one step of the model.
func (c *Climate) next(s state) state {
	outside := c.outside(s.step)
	door, air := c.door(s.step)
	defrosting := c.defrosting(s.step)
	switch set, band := int64(c.room.Setpoint)*1000, int64(c.room.Band)*1000; {
	case c.room.Passive || defrosting || within(c.room.Outages, s.step):
		s.running = false
	case s.air > set+band:
		s.running = true
	case s.air < set-band:
		s.running = false
	}
	intoGoods := (s.air - s.product) * goodsShare / million
	change := (outside-s.air)*(wallShare+door)/million - intoGoods
	vapour := (saturation(outside)*outsideDamp/100 - s.vapour) * (leakShare + air) / million
	if !c.room.Passive {
		vapour += damp
	}
	if s.running {
		change -= coolStep
		vapour -= max(0, s.vapour-saturation(s.air-coilBelow)) * coilAir / million
	}
	if defrosting {
		vapour += meltingDamp
		if c.room.Setpoint < 0 {
			change += heatStep
		}
	}
	s.air += change
	s.product += intoGoods / goodsMass
	s.vapour = min(max(s.vapour+vapour, 0), saturation(s.air))
	s.step++
	return s
}

func (c *Climate) defrosting(step int64) bool {
	if c.room.Passive {
		return false
	}
	length := int64(offCycle / stepTime)
	if c.room.Setpoint < 0 {
		length = int64(heated / stepTime)
	}
	since := step - c.defrost
	return since >= 0 && since%int64(defrostEvery/stepTime) < length
}

// door returns the share of the difference to the outside that the open door
// evens out in a step, and the share of the air that it lets in; 0: it is shut.
func (c *Climate) door(step int64) (heat, air int64) {
	const perSlot = int64(slotTime / stepTime)
	for slot := step / perSlot; slot >= max(0, step/perSlot-2); slot-- {
		from, to, ajar := c.opening(slot)
		switch {
		case step < slot*perSlot+from || step >= slot*perSlot+to:
		case ajar:
			return ajarShare, ajarAir
		default:
			heat, air = doorShare, doorAir
		}
	}
	if within(c.room.Doors, step) {
		heat, air = doorShare, doorAir
	}
	return heat, air
}

// opening returns the steps of a slot between which people hold the door open.
func (c *Climate) opening(slot int64) (from, to int64, ajar bool) {
	luck := c.luck(luckDoor, uint64(slot))
	odds := uint64(quietOdds)
	if hour := (Morning + time.Duration(slot)*slotTime) / time.Hour % 24; hour >= 7 && hour < 19 {
		odds = busyOdds
	}
	if luck%100 >= odds {
		return 0, 0, false
	}
	from = int64(luck >> 8 % uint64(slotTime/stepTime))
	to = from + 3 + int64(luck>>24%22) // half a minute to four
	if luck>>40%ajarOneIn == 0 {
		return from, from + 150 + int64(luck>>48%210), true // 25 minutes to an hour
	}
	return from, to, false
}

// outside is the temperature outside the walls, in millionths of a degree: warmest
// at three in the afternoon, with spells of some days.
func (c *Climate) outside(step int64) int64 {
	const perDay = int64(24 * time.Hour / stepTime)
	if c.room.Swing == 0 {
		return int64(c.room.Ambient) * 1000
	}
	now := step + int64(Morning/stepTime)
	day := sine((now-9*perDay/24)%perDay*million/perDay) * int64(c.room.Swing) / 1000
	spell := c.drift(luckSpell, now, 2*perDay) * int64(c.room.Swing) / 2000
	return int64(c.room.Ambient)*1000 + day + spell
}

// pressure is that of the air, in Pa: the mean at sea level, and highs and lows.
func (c *Climate) pressure(step int64) int64 {
	return 101_325 + c.drift(luckPressure, step, int64(18*time.Hour/stepTime))*1_500/million
}

// drift is a slow random walk from -million to million that turns every period.
func (c *Climate) drift(what uint64, step, period int64) int64 {
	turn := func(n int64) int64 { return int64(c.luck(what, uint64(n))%(2*million+1)) - million }
	n, part := step/period, step%period
	return turn(n) + (turn(n+1)-turn(n))*part/period
}

// What luck is asked for.
const (
	luckDoor = iota
	luckDefrost
	luckSpell
	luckPressure
	luckNoise
)

func (c *Climate) luck(what, n uint64) uint64 {
	return mix(mix(c.seed^mix(what+golden)) ^ mix(n+golden))
}

// merge returns spans in ascending order, none touching the next.
func merge(spans []Span) []Span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	var out []Span
	for _, s := range spans {
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, s.To)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// within says whether a step lies in one of the spans.
func within(spans []Span, step int64) bool {
	t := time.Duration(step) * stepTime
	i := sort.Search(len(spans), func(i int) bool { return spans[i].To > t })
	return i < len(spans) && spans[i].From < t+stepTime
}

// sine of a turn given in millionths, in millionths, by Bhaskara's formula: whole
// numbers only, and 0.2 % off at most.
func sine(turn int64) int64 {
	turn = (turn%million + million) % million
	sign := int64(1)
	if turn >= million/2 {
		turn, sign = turn-million/2, -1
	}
	x := turn * (million/2 - turn) / (million / 4) // x (1 - x) of half a turn
	return sign * 16 * x * million / (5*million - 4*x)
}

// The table of saturation goes from -60 to 100 °C.
const coldest, hottest = -60, 100

// saturated is the water that air can hold at whole degrees Celsius, in µg/m³: the
// Magnus formula over water (Alduchov and Eskridge 1996) and the ideal gas law.
var saturated = func() (table [hottest - coldest + 1]int64) {
	for i := range table {
		t := float64(i + coldest)
		pascal := 610.94 * math.Exp(17.625*t/(243.04+t))
		table[i] = int64(math.Round(pascal / (461.5 * (t + 273.15)) * 1e9))
	}
	return table
}()

// saturation is saturated at a temperature in millionths of a degree.
func saturation(micro int64) int64 {
	micro = min(max(micro, coldest*million), hottest*million-1) - coldest*million
	i, part := micro/million, micro%million
	return saturated[i] + (saturated[i+1]-saturated[i])*part/million
}

// Simulate returns n samples of the air in the room and of the product on its
// shelf, as sensors tell them. The same seed gives the same samples.
func (r Room) Simulate(seed uint64, n int) (air, product Series) {
	c := r.Climate(seed)
	air, product = make(Series, n), make(Series, n)
	for i := range n {
		air[i], product[i] = c.sensed(int64(i), false), c.sensed(int64(i), true)
	}
	return air, product
}

// sensed is what a sensor tells in sample number n.
func (c *Climate) sensed(n int64, product bool) int32 {
	s := c.reach(n * int64(SampleMinutes*time.Minute/stepTime) % lastStep)
	if product {
		return int32(s.product/1000) + int32(spread(c.luck(luckNoise, uint64(2*n+1)), noiseMilli))
	}
	return int32(s.air/1000) + int32(spread(c.luck(luckNoise, uint64(2*n)), noiseMilli))
}
