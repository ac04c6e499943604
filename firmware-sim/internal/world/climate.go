package world

import "math/rand/v2"

// A Series is a temperature over time in thousandths of a degree Celsius, one
// value per sample period. It repeats when it ends.
type Series []int32

// SampleMinutes is the sample period of a modelled Series: that of the logger
// files that can stand in its place.
const SampleMinutes = 5

// Room is a cold room. Temperatures are thousandths of a degree Celsius.
type Room struct {
	Setpoint int32 // the thermostat's
	Band     int32 // the compressor starts this far above the set point and stops this far below
	Ambient  int32 // outside the walls and the door
}

// Pace of the model, as the share of a temperature difference that one minute
// evens out (one part in so many), or thousandths of a degree a minute.
const (
	wallParts    = 600 // outside air through the walls
	doorParts    = 12  // outside air through an open door
	airParts     = 40  // product into the air
	productParts = 150 // air into the product, which is heavier
	coolMilli    = 300 // a running compressor
	doorEvery    = 90  // minutes between two openings, on average
	ajarOneIn    = 40  // openings after which the door is left ajar
	noiseMilli   = 60  // a sensor is off by at most this much
)

// Simulate returns n samples of the air in the room and of the product on its
// shelf. The same seed gives the same samples on every machine: the model
// computes in whole millionths of a degree.
func (r Room) Simulate(seed uint64, n int) (air, product Series) {
	random := rand.New(rand.NewPCG(seed, 0x636f6c64))
	noise := func() int64 { return random.Int64N(2*noiseMilli+1) - noiseMilli }
	setpoint, band, ambient := int64(r.Setpoint)*1000, int64(r.Band)*1000, int64(r.Ambient)*1000
	inAir, inProduct := setpoint, setpoint
	running, door := false, 0 // door: minutes it stays open
	air, product = make(Series, n), make(Series, n)
	for i := range n {
		for range SampleMinutes {
			switch {
			case inAir > setpoint+band:
				running = true
			case inAir < setpoint-band:
				running = false
			}
			if door > 0 {
				door--
			} else if random.IntN(doorEvery) == 0 {
				door = 1 + random.IntN(4)
				if random.IntN(ajarOneIn) == 0 {
					door = 25 + random.IntN(35)
				}
			}
			change := (ambient-inAir)/wallParts + (inProduct-inAir)/airParts
			if door > 0 {
				change += (ambient - inAir) / doorParts
			}
			if running {
				change -= coolMilli * 1000
			}
			inProduct += (inAir - inProduct) / productParts
			inAir += change
		}
		air[i] = int32(inAir/1000 + noise())
		product[i] = int32(inProduct/1000 + noise())
	}
	return air, product
}
