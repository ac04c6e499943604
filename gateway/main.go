// Command gateway takes signed statements in and gives ledger, status page and
// passports out.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"trailmark/gateway/app"
	"trailmark/internal/command"
)

const prefix = "TRAILMARK_GATEWAY"

func main() { command.Main("gateway", run) }

const intro = `gateway takes signed statements from devices and keeps them in a Merkle ledger
whose head it anchors on a chain. It is trusted for availability only.

  gateway init     make an organisation: keys of authority, site, brand and ledger
  gateway claim    make a claim, once and for one device to enrol with
  gateway product  sign what a GTIN is and the rule that judges its items; import, export
  gateway devices  list devices: zone, newest frame, in force or revoked
  gateway revoke   take a device's key back, for ever
  gateway erase    forget readings, by a statement that the site signs
  gateway alarms   list, acknowledge and close alarms; their rules and targets
  gateway event    capture an EPCIS 2.0 document, or forget one
  gateway recall   find every product made from a recalled input
  gateway handover sign that objects are given to somebody
  gateway accept   sign that they were taken over
  gateway custodian make a key for somebody else who has the goods for a while
  gateway run      run
  gateway fsck     recompute everything that is stored, and name what is damaged
  gateway backup   copy the folder of a running gateway
  gateway restore  put a backup, or its database alone, back

Example: a first gateway on this machine

  gateway init --dir data
  gateway run --dir data
  gateway claim --dir data --zone cold1 --name "zh-CN=一号冷库,en=Cold room 1" --band 2..8

Each command has --help. Flags can come from the environment:
TRAILMARK_GATEWAY_HTTP is --http. Every command logs to standard error, as
--log-format and --log-level say.
`

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	name, args, err := command.Split(args, intro, stdout)
	if err != nil {
		return err
	}
	switch name {
	case "init":
		return initialise(args, environ, stdout)
	case "claim":
		return claim(args, environ, stdout, stderr)
	case "product":
		return product(ctx, args, environ, stdout)
	case "devices":
		return devices(ctx, args, environ, stdout)
	case "revoke":
		return revoke(ctx, args, environ, stdout)
	case "erase":
		return erase(ctx, args, environ, stdout)
	case "alarms":
		return alarms(ctx, args, environ, stdout)
	case "event":
		return event(args, environ, stdout)
	case "recall":
		return recall(ctx, args, environ, stdout)
	case "handover":
		return handover(ctx, args, environ, stdout)
	case "custodian":
		return custodian(args, environ, stdout)
	case "accept":
		return accept(ctx, args, environ, stdout)
	case "run":
		return serve(ctx, args, environ, stdout, stderr)
	case "fsck":
		return fsck(ctx, args, environ, stdout, stderr)
	case "backup":
		return backup(ctx, args, environ, stdout, stderr)
	case "restore":
		return restore(ctx, args, environ, stdout)
	default:
		return command.Usagef("unknown command %q; see gateway --help", name)
	}
}

func initialise(args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway init")
	o := app.DefaultOrganisation()
	dir := f.String("dir", "data", "`folder` for everything, made if missing")
	f.StringVar(&o.Tenant, "tenant", o.Tenant, "short `name` of the organisation, lower case")
	f.StringVar(&o.Environment, "env", o.Environment, "`environment`: a staging statement is worthless in production")
	f.StringVar(&o.Domain, "domain", o.Domain, "`domain` of the ledger's name and of Digital Links")
	f.StringVar(&o.Site, "site", o.Site, "`names` of the site")
	f.StringVar(&o.Brand, "brand", o.Brand, "`names` of the brand")
	f.IntVar(&o.WitnessQuorum, "witness-quorum", o.WitnessQuorum, "how many of the organisation's devices must have cosigned a ledger head, by the trust file, for a split view to be excluded; 0: the trust file asks for none")
	simulated := f.Bool("simulated", false, "also make an authority for simulated devices, which the trust file then takes; not for production")
	if err := command.Parse(f, args, environ, prefix, "gateway init makes an organisation.\n\nExample:\n\n  gateway init --dir data --tenant acme --env production --domain trace.acme.example\n", stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	return app.Init(*dir, o, *simulated, time.Now, stdout)
}

func claim(args, environ []string, stdout, stderr io.Writer) error {
	f, logs := newFlags("gateway claim")
	c := app.ClaimConfig{Zone: "cold1", Name: "zh-CN=一号冷库,en=Cold room 1", Band: "2..8", ReRead: 15 * time.Minute}
	f.StringVar(&c.Dir, "dir", "data", "the gateway's `folder`")
	f.StringVar(&c.Zone, "zone", c.Zone, "`id` of the zone that the device serves")
	f.StringVar(&c.Name, "name", c.Name, "`names` of the zone")
	f.StringVar(&c.Band, "band", c.Band, "temperature `band` in °C, its ends still in")
	f.DurationVar(&c.ReRead, "reread", c.ReRead, "sightings no further apart mean that a tag was there all along")
	f.StringVar(&c.URL, "url", "", "https `URL` where the device reaches the gateway's --est (default: as the gateway that ran last said)")
	f.BoolVar(&c.Simulated, "simulated", false, "for a simulated device, vouched for and shown as such for ever")
	if err := command.Parse(f, args, environ, prefix, "gateway claim makes a claim with which one device may enrol, once: a URI of the\ngateway's address, a code, and the fingerprint by which the device knows the gateway.\nOnly the URI goes to standard output; it is a secret until the device has used it.\n\nExample:\n\n  gateway claim --dir data --zone cold1 --name \"zh-CN=一号冷库,en=Cold room 1\" --band 2..8\n", stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	return app.Claim(c, stdout, stderr)
}

func serve(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	f, logs := newFlags("gateway run")
	c := app.Default()
	f.StringVar(&c.Dir, "dir", c.Dir, "`folder` made by gateway init")
	f.StringVar(&c.HTTP, "http", c.HTTP, "`address:port` of pages and passports")
	f.StringVar(&c.EST, "est", c.EST, "`address:port` where devices enrol, over TLS")
	f.StringVar(&c.MQTT, "mqtt", c.MQTT, "`address:port` of the broker, over TLS")
	f.StringVar(&c.Base, "base", c.Base, "public `URL` in QR codes (default http://<http>)")
	f.StringVar(&c.BrokerURL, "broker-url", c.BrokerURL, "`URL` of the broker that devices are told (default mqtts://<mqtt>)")
	f.StringVar(&c.ESTURL, "est-url", c.ESTURL, "`URL` where devices reach --est (default https://<est>)")
	f.StringVar(&c.Metrics, "metrics", "", "loopback `address:port` of figures for Prometheus, as 127.0.0.1:9101 (default: none)")
	f.StringVar(&c.OTLP, "otlp", "", "`URL` of an OpenTelemetry collector to send traces to, as http://127.0.0.1:4318 (default: none)")
	f.StringVar(&c.ChainTrust, "chain-trust", "", "trust `file` that pins the validators of --chain comet://…, the first time (default authority/trust.cbor of the folder)")
	f.BoolVar(&c.AuditOpen, "audit-open", false, "give every reading of an item's journey to whoever can reach the pages; always so on loopback without --base")
	f.DurationVar(&c.AnchorEvery, "anchor-every", c.AnchorEvery, "how often the ledger's head is put on the chain")
	f.Func("chain", "also anchor on the chain of this `URL`, evm+https://rpc,https://rpc2#0xcontract,chain=1; repeated for several;\noptions after # are told by anchor deploy --help.\ncomet://host:port instead of the embedded validator: a member of a consortium's chain, which is not believed", chainURL(&c))
	f.Func("chain-key", "keystore `file` of the key that pays for --chain, or web3signer+http://host:port#0xaddress or clef+…; once for all\nchains or once for each", list(&c.Chains.Keys))
	f.Func("chain-passphrase", "`file` whose first line opens the keystore file; once for all chains or once for each", list(&c.Chains.Passphrases))
	f.DurationVar(&c.Chains.Every, "chain-every", c.Chains.Every, "how often the ledger's head is put on each --chain")
	f.StringVar(&c.Chains.Prefer, "passport-chain", "", "anchor passports on this chain alone, `eip155:1` say (default: the embedded one, older anchors of the others beside it)")
	f.IntVar(&c.Witnesses, "witnesses", c.Witnesses, "at most how many `devices` are asked to cosign the head before it is put on the chain; 0: none")
	f.DurationVar(&c.CheckpointEvery, "checkpoint-every", c.CheckpointEvery, "how often the ledger signs its head")
	f.DurationVar(&c.Travel, "travel", c.Travel, "the least time that goods need between two sites: less is told as a copy or a diversion")
	f.Func("shop", "`id` of a zone that shoppers come to, once for each: elsewhere an item that is looked up is told as diverted", list(&c.Shops))
	f.Int64Var(&c.Scans, "scans", c.Scans, "`number` of look-ups in a day from which on an item that is where no shopper comes to is told as diverted")
	if err := command.Parse(f, args, environ, prefix, "gateway run runs the gateway of a folder made by gateway init.\n\nExample:\n\n  gateway run --dir data --base https://trace.acme.example \\\n    --est 0.0.0.0:8443 --est-url https://10.0.0.5:8443 --mqtt 0.0.0.0:8883 --broker-url mqtts://10.0.0.5:8883\n\n  gateway run --dir data --chain 'evm+https://rpc.example,https://rpc.example.net#0x…,chain=1' \\\n    --chain-key submitter.json --chain-passphrase submitter.pass\n", stdout); err != nil {
		return err
	}
	log, _, err := logs.start(stderr)
	if err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q", f.Arg(0))
	}
	klog.SetSlogLogger(log) // the log of Tessera
	return app.Run(ctx, c, log, func(r app.Ready) {
		fmt.Fprintf(stdout, "gateway: ready at %s, broker %s, enrolment %s\n", r.URL, r.Broker, r.EST)
		if r.Metrics != "" {
			fmt.Fprintf(stdout, "gateway: figures at %s\n", r.Metrics)
		}
	})
}

// list takes a flag that may be repeated.
func list(to *[]string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("it is empty")
		}
		*to = append(*to, s)
		return nil
	}
}

// chainURL takes a consortium's member apart from the EVM chains.
func chainURL(c *app.Config) func(string) error {
	evm := list(&c.Chains.URLs)
	return func(url string) error {
		if !strings.HasPrefix(url, "comet://") {
			return evm(url)
		}
		if c.Chain != "" {
			return fmt.Errorf("%s and %s: one member of one consortium", c.Chain, url)
		}
		c.Chain = url
		return nil
	}
}
