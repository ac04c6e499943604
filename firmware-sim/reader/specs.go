package reader

import (
	"fmt"

	"trailmark/internal/llrp"
)

func (c *session) add(payload []byte) llrp.Status {
	spec, err := llrp.DecodeROSpec(payload)
	switch {
	case err != nil:
		return llrp.Status{Code: llrp.ParameterError, Description: err.Error()}
	case c.spec != nil:
		return llrp.Status{Code: llrp.OverflowParameter, Description: fmt.Sprintf("rospec %d is there, this reader keeps 1", c.spec.ID)}
	case len(spec.AISpecs) != 1 || spec.StopMS != 0 || spec.AISpecs[0].StopMS != 0:
		return llrp.Status{Code: llrp.UnsupportedParam, Description: "this reader runs one aispec without a stop trigger"}
	case spec.Report == nil || spec.Report.Trigger == llrp.ReportOnRequest:
		return llrp.Status{Code: llrp.UnsupportedParam, Description: "this reader reports after n tags only"}
	}
	if i := spec.AISpecs[0].Inventory; !c.impinj && (spec.Report.SerializedTID || i != nil && i.Search != llrp.SearchReader) {
		return llrp.Status{Code: llrp.UnsupportedParam, Description: "impinj's additions are not enabled"}
	} else if i != nil && i.Transmit != nil {
		if t := i.Transmit; t.Power < 1 || t.Power > maxPower || t.HopTable != 0 || t.Channel < 1 {
			return llrp.Status{Code: llrp.FieldError, Description: fmt.Sprintf("transmitter %+v is in no table", *t)}
		}
	}
	for _, a := range spec.AISpecs[0].Antennas {
		if a > c.o.Antennas {
			return llrp.Status{Code: llrp.FieldError, Description: fmt.Sprintf("antenna %d > %d", a, c.o.Antennas)}
		}
	}
	c.spec = &spec
	return llrp.Status{}
}

// control moves the ROSpec between disabled, inactive, active and gone. The
// event says what became active or ceased to be; it is sent after the response.
func (c *session) control(m llrp.Message) (llrp.Status, *llrp.ROSpecEvent) {
	id, err := llrp.DecodeROSpecID(m.Payload)
	if err != nil {
		return llrp.Status{Code: llrp.FieldError, Description: err.Error()}, nil
	}
	all := id == 0 && (m.Type == llrp.DeleteROSpec || m.Type == llrp.EnableROSpec)
	if c.spec == nil && all {
		return llrp.Status{}, nil
	}
	if c.spec == nil || id != c.spec.ID && !all {
		return llrp.Status{Code: llrp.FieldError, Description: fmt.Sprintf("no rospec %d", id)}, nil
	}
	started, ended := &llrp.ROSpecEvent{Type: llrp.ROSpecStarted, ID: c.spec.ID}, &llrp.ROSpecEvent{Type: llrp.ROSpecEnded, ID: c.spec.ID}
	switch m.Type {
	case llrp.EnableROSpec:
		if !c.enabled {
			c.enabled = true
			if c.spec.Start == llrp.StartImmediately {
				return llrp.Status{}, started
			}
		}
	case llrp.StartROSpec:
		if !c.enabled || c.active {
			return llrp.Status{Code: llrp.UnexpectedMessage, Description: fmt.Sprintf("rospec %d is not inactive", id)}, nil
		}
		return llrp.Status{}, started
	case llrp.StopROSpec:
		if !c.active {
			return llrp.Status{Code: llrp.UnexpectedMessage, Description: fmt.Sprintf("rospec %d is not active", id)}, nil
		}
		return llrp.Status{}, ended
	case llrp.DeleteROSpec:
		was := c.active
		c.spec, c.enabled, c.active, c.pending = nil, false, false, nil
		if was {
			return llrp.Status{}, ended
		}
	}
	return llrp.Status{}, nil
}

// change carries out what control decided and says so to a client that asked.
func (c *session) change(e llrp.ROSpecEvent) error {
	c.active = e.Type == llrp.ROSpecStarted
	if !c.active && c.spec != nil {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if !c.events[llrp.EventROSpec] {
		return nil
	}
	return c.notify(llrp.Event{ROSpec: &e})
}

func (c *session) listROSpecs() ([]byte, error) {
	var specs []llrp.ROSpec
	state := uint8(0)
	if c.spec != nil {
		specs = append(specs, *c.spec)
	}
	if c.enabled {
		state = 1
	}
	if c.active {
		state = llrp.StateActive
	}
	return llrp.EncodeROSpecs(specs, state)
}

func (c *session) listAccessSpecs() ([]byte, error) {
	var specs []llrp.AccessSpec
	if c.access != nil {
		specs = append(specs, *c.access)
	}
	return llrp.EncodeAccessSpecs(specs, c.accessing)
}

func (c *session) addAccess(payload []byte) llrp.Status {
	spec, err := llrp.DecodeAccessSpec(payload)
	switch {
	case err != nil:
		return llrp.Status{Code: llrp.ParameterError, Description: err.Error()}
	case c.access != nil:
		return llrp.Status{Code: llrp.OverflowParameter, Description: fmt.Sprintf("accessspec %d is there, this reader keeps 1", c.access.ID)}
	case spec.Bank != llrp.BankTID:
		return llrp.Status{Code: llrp.UnsupportedParam, Description: "this reader reads tids only"}
	}
	c.access = &spec
	return llrp.Status{}
}

// controlAccess enables or deletes the AccessSpec.
func (c *session) controlAccess(m llrp.Message) llrp.Status {
	id, err := llrp.DecodeROSpecID(m.Payload)
	if err != nil {
		return llrp.Status{Code: llrp.FieldError, Description: err.Error()}
	}
	if c.access == nil && id == 0 {
		return llrp.Status{}
	}
	if c.access == nil || id != 0 && id != c.access.ID {
		return llrp.Status{Code: llrp.FieldError, Description: fmt.Sprintf("no accessspec %d", id)}
	}
	if c.accessing = m.Type == llrp.EnableAccessSpec; !c.accessing {
		c.access = nil
	}
	return llrp.Status{}
}
