package mfrc522

import "time"

// timer is the 16-bit down-counter (data sheet, 8.5). It belongs to the chip's
// mu.
type timer struct {
	running bool
	zero    time.Time     // when it reaches zero
	tick    time.Duration // one period of the prescaler
	reload  int64
	value   uint16 // while it stands
}

// startTimer loads the reload value. The caller holds mu.
func (c *Chip) startTimer(now time.Time) {
	prescaler := int64(c.reg[regTMode]&0xf)<<8 | int64(c.reg[regTPrescaler])
	divisor := 2*prescaler + 1
	if c.reg[regDemod]&bitPrescaleEven != 0 {
		divisor++
	}
	t := &c.timer
	t.reload = int64(c.reg[regTReloadH])<<8 | int64(c.reg[regTReloadL])
	t.tick = max(1, carriers(divisor))
	t.running = true
	t.zero = now.Add(carriers(divisor * (t.reload + 1)))
}

// stop keeps the value it has.
func (t *timer) stop(now time.Time) {
	t.value = t.count(now)
	t.running = false
}

// count is TCounterValReg.
func (t *timer) count(now time.Time) uint16 {
	if !t.running {
		return t.value
	}
	return uint16(min(max(int64(t.zero.Sub(now)/t.tick), 0), t.reload))
}

// expire is the counter at zero. The caller holds mu.
func (c *Chip) expire(now time.Time) {
	c.reg[regComIrq] |= irqTimer
	t := &c.timer
	if c.reg[regTMode]&bitTAutoRestart == 0 {
		t.running, t.value = false, 0
		return
	}
	period := max(t.tick*time.Duration(t.reload+1), 1)
	t.zero = t.zero.Add((now.Sub(t.zero)/period + 1) * period) // all that are past at once
}

// advance lets everything happen that is due by now, in its order. The caller
// holds mu.
func (c *Chip) advance(now time.Time) {
	if c.reg[regTxControl]&bitRF != 0 && c.carrier(now) {
		c.o.Field.Power(true, c.awake) // switched on before the oscillator ran; else no change
	}
	for {
		due := now.Add(1)
		var event func()
		for _, e := range []struct {
			at time.Time
			is bool
			do func(time.Time)
		}{
			{c.radio.sent, c.radio.sending != nil, c.sentOut},
			{c.radio.answer, !c.radio.answer.IsZero(), c.hear},
			{c.timer.zero, c.timer.running, func(time.Time) { c.expire(now) }},
		} {
			if e.is && e.at.Before(due) {
				due, event = e.at, func() { e.do(e.at) }
			}
		}
		if event == nil {
			return
		}
		event()
		c.watermark()
	}
}
