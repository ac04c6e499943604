package main

import (
	"context"
	"io"
	"os"
	"time"

	"trailmark/gateway/app"
	"trailmark/internal/command"
)

const eventIntro = `gateway event leaves an EPCIS 2.0 document, or one event, in JSON for the gateway,
which signs each event with the organisation's key and stores it behind its objects'
newest events. All of a document is captured or nothing. It is checked at once, and
what is wrong is told with its JSON path. An event that was captured before is not
captured twice.

The document stays with the gateway: in the ledger is only what an event did, and
the salted hash of its objects. --forget erases the document of an event; every
proof of the event stays.

It works beside a running gateway.

Examples:

  gateway event --dir data --file packing.json
  curl -s https://partner.example/event | gateway event --dir data --file -
  gateway event --dir data --forget 'ni:///sha-256;...?ver=CBV2.0'
`

func event(args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway event")
	var c app.EventConfig
	f.StringVar(&c.Dir, "dir", "data", "the gateway's `folder`")
	f.StringVar(&c.File, "file", "", "`file` with the document; -: standard input")
	f.BoolVar(&c.Proceed, "proceed", false, "capture the events that are right, also where others are not")
	f.StringVar(&c.Forget, "forget", "", "`eventID` of the event whose document is to be erased")
	if err := command.Parse(f, args, environ, prefix, eventIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q", f.Arg(0))
	}
	return app.Event(c, os.Stdin, stdout)
}

const recallIntro = `gateway recall follows the events of an item, a lot, a case or a pallet forwards:
what was made from it, in any number of steps, what was made from that, and what
carries it. Of a case or a pallet also what was ever in it. Siblings in a common
carrier are not reached.

A line has the number of transformations, the object, the time of the event, and
why it is reached.

Example:

  gateway recall --dir data --object https://id.gs1.org/01/04012345111118/10/4444
`

func recall(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway recall")
	dir := f.String("dir", "data", "the gateway's `folder`")
	object := f.String("object", "", "`URI` of what is recalled, as EPC or GS1 Digital Link")
	asJSON := f.Bool("json", false, "a JSON list")
	if err := command.Parse(f, args, environ, prefix, recallIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	if *object == "" || f.NArg() > 0 {
		return command.Usagef("what is recalled? see gateway recall --help")
	}
	return app.Recall(ctx, *dir, *object, *asJSON, stdout)
}

const handoverIntro = `gateway handover signs, with the organisation's key, that objects are given to
somebody: now, and with the temperature digest of every channel of the zone where
they, or what they are packed into, were seen last. Until the taker signs gateway
accept it is one side's word.

With --as it is signed by a custodian's key, of gateway custodian. It works beside a
running gateway.

Example:

  gateway handover --dir data --object https://id.gs1.org/00/106141412345678908 \
    --to https://trace.carrier.example/417/carrier --place "dock 4"
`

func handover(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway handover")
	var c app.HandoverConfig
	f.StringVar(&c.Dir, "dir", "data", "the gateway's `folder`")
	f.Func("object", "`URI` of an object, as EPC or GS1 Digital Link; once for each", func(s string) error {
		c.Objects = append(c.Objects, s)
		return nil
	})
	f.StringVar(&c.To, "to", "", "`URI` that the taker's key speaks as")
	f.StringVar(&c.Place, "place", "", "`words` or URI of the place")
	f.StringVar(&c.As, "as", "", "`id` of the custodian who gives (default: the organisation itself)")
	if err := command.Parse(f, args, environ, prefix, handoverIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	if len(c.Objects) == 0 || c.To == "" || f.NArg() > 0 {
		return command.Usagef("what is given to whom? see gateway handover --help")
	}
	return app.Handover(ctx, c, time.Now, stdout)
}

const acceptIntro = `gateway accept signs, with the organisation's key, that what a handover names was
taken over: now, and with the temperature digest of the zone where it was seen last.
Only whom the handover names accepts it. With --as it is signed by a custodian's key,
of gateway custodian. It works beside a running gateway.

Example:

  gateway accept --dir data --handover 8175a4dda4a8c36edf2add18d6578c2d64d57f2ffc693d2fcb96f4e484743bba
`

func accept(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway accept")
	dir := f.String("dir", "data", "the gateway's `folder`")
	id := f.String("handover", "", "`id` of the handover's statement, 64 hex digits")
	as := f.String("as", "", "`id` of the custodian who accepts (default: the organisation itself)")
	if err := command.Parse(f, args, environ, prefix, acceptIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	if *id == "" || f.NArg() > 0 {
		return command.Usagef("which handover? see gateway accept --help")
	}
	return app.Accept(ctx, *dir, *as, *id, time.Now, stdout)
}

const custodianIntro = `gateway custodian makes a key for a haulier, a shop or whoever else has the goods for
a while, and has the authority vouch for it. Such a custodian signs with gateway
handover --as and gateway accept --as what it gives away and takes over. Its key is in
the folder custodians: it is the custodian's, and belongs on a machine of its own.

Of standard output the last line is whom the key speaks as: what --to takes.

Example:

  gateway custodian --dir data --id carrier --name "zh-CN=示例冷链物流,en=Example Cold Chain"
`

func custodian(args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("gateway custodian")
	var c app.CustodianConfig
	f.StringVar(&c.Dir, "dir", "data", "the gateway's `folder`")
	f.StringVar(&c.ID, "id", "", "`id` of the custodian, short and lower case")
	f.StringVar(&c.Name, "name", "", "`names` of the custodian")
	if err := command.Parse(f, args, environ, prefix, custodianIntro, stdout); err != nil {
		return err
	}
	if c.ID == "" || c.Name == "" || f.NArg() > 0 {
		return command.Usagef("who is the custodian? see gateway custodian --help")
	}
	return app.Custodian(c, time.Now, stdout)
}
