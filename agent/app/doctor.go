package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trailmark/agent/internal/doctor"
	"trailmark/agent/internal/hardware"
	"trailmark/agent/internal/keys"
	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/station"
	"trailmark/internal/device"
	"trailmark/internal/est"
	"trailmark/statement"
)

// Patience of the doctor with one probe, reader or server.
const (
	probeWait  = 5 * time.Second
	readerWait = 8 * time.Second
	serverWait = 5 * time.Second
)

// examination is one run of the doctor.
type examination struct {
	doctor.Report
	c       Config
	running bool // an agent has the folder, and with it the buses
	key     keys.Key
	e       *device.Enrolment // nil: none, or none that can be read
}

// Doctor looks at everything that an agent with this configuration needs and
// writes what it found. It changes nothing, and leaves buses, readers and a TPM to
// an agent that runs. unusable is what is wrong with the configuration file. ok is
// false when something fails.
func Doctor(ctx context.Context, c Config, unusable error, lang string, asJSON bool, w io.Writer) (ok bool, err error) {
	x := &examination{c: c, running: held(c.Dir)}
	x.Add("version", doctor.OK, doctor.Same(Version()), doctor.Words{})
	if unusable != nil {
		x.Error("config", doctor.Fail, unusable)
	} else {
		x.Add("config", doctor.OK, doctor.Both("every setting is one that can be meant", "设置有效"), doctor.Words{})
	}
	x.Folder(c.Dir, cardBytes(c.Dir), int64(c.Card))
	x.keyAndEnrolment()
	if x.key != nil {
		defer x.key.Close()
	}
	x.rotation()
	x.Clock()
	x.Watchdog()
	if unusable == nil {
		if x.running {
			x.reported()
		} else {
			x.hardware(ctx)
		}
	}
	x.gateway(ctx)
	x.receipts()
	write := x.Print
	if asJSON {
		write = x.JSON
	}
	return x.Healthy(), write(w, lang)
}

func (x *examination) keyAndEnrolment() {
	raw, readErr := readFile(filepath.Join(x.c.Dir, enrolmentName), device.MaxEnrolment)
	enrolled := readErr == nil
	epoch, err := presentEpoch(x.c.Dir)
	if err != nil {
		x.Error("enrolment", doctor.Fail, err)
		return
	}
	where, err := keyOf(x.c, epoch)
	if err != nil {
		x.Error("key", doctor.Fail, err)
		return
	}
	info, err := os.Stat(where.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && enrolled:
		x.Add("key", doctor.Fail, doctor.Both("%s is gone, and the enrolment is for that key", "%s 丢失,而登记用的正是该密钥", where.Path),
			doctor.Both("move %s away and start with a new claim", "请移走 %s 并用新的领取码重新登记", x.c.Dir))
		return
	case errors.Is(err, fs.ErrNotExist):
		x.Add("key", doctor.OK, doctor.Both("there is none yet, the agent makes it when it starts", "尚无密钥,agent 启动时生成"), doctor.Words{})
	case err != nil:
		x.Error("key", doctor.Fail, err)
		return
	case where.InTPM() && x.running:
		x.Add("key", doctor.Skip, doctor.Both("in a TPM that the running agent has", "密钥在 TPM 中,正由运行中的 agent 使用"), doctor.Words{})
	default:
		if x.key, err = where.Open(); err != nil { // the file is there: nothing is made
			x.Error("key", doctor.Fail, err)
			return
		}
		x.Add("key", doctor.OK, doctor.Both("%s, mode %04o, can be used", "%s,权限 %04o,可用", where.Path, info.Mode().Perm()), doctor.Words{})
	}
	x.enrolment(raw, readErr)
}

func (x *examination) enrolment(raw []byte, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist) && x.c.Claim == "" && x.c.ClaimFile == "":
		x.Add("enrolment", doctor.Fail, doctor.Both("this device is not enrolled and has no claim", "设备未登记,也没有领取码"),
			doctor.Both("run gateway claim on the gateway and write its line as claim", "在网关上运行 gateway claim,把得到的一行写到 claim"))
		return
	case errors.Is(err, fs.ErrNotExist):
		x.Add("enrolment", doctor.Warn, doctor.Both("this device has a claim and is not enrolled yet", "已有领取码,尚未登记"),
			doctor.Both("start the agent", "请启动 agent"))
		return
	case err != nil:
		x.Error("enrolment", doctor.Fail, err)
		return
	case x.key == nil:
		x.Add("enrolment", doctor.Skip, doctor.Both("its key is not at hand", "密钥不可用,未检查"), doctor.Words{})
		return
	}
	pub, err := statement.NewKey(x.key.Public())
	if err == nil {
		x.e, err = device.ParseEnrolment(raw, pub)
	}
	if err != nil {
		x.Error("enrolment", doctor.Fail, err)
		return
	}
	until := x.e.Certificate.NotAfter.Format(time.DateOnly)
	said := doctor.Both("%s, key %.8s of epoch %d, certificate until %s", "%s,密钥 %.8s(第 %d 期),证书有效期至 %s", x.e.Identity.Subject, pub.ID(), x.e.Identity.Epoch, until)
	switch {
	case time.Now().After(x.e.Certificate.NotAfter):
		x.Add("enrolment", doctor.Fail, said, doctor.Both("the certificate has run out: give the device a new claim", "证书已过期:请提供新的领取码"))
	case x.e.Plan == nil:
		x.Add("enrolment", doctor.OK, doctor.Words{En: said.En + "; no plan came with it", Zh: said.Zh + ";当时尚无计划"}, doctor.Words{})
	default:
		x.Add("enrolment", doctor.OK, said, doctor.Words{})
	}
}

// rotation says what of a change of the key is under way, or was left behind.
func (x *examination) rotation() {
	epoch, err := presentEpoch(x.c.Dir)
	if err != nil {
		return // said already
	}
	if where, there := formerKey(x.c, epoch); there {
		x.Add("rotation", doctor.Warn, doctor.Both("the key of epoch %d is still there: %s", "第 %d 期的密钥仍在:%s", epoch-1, where.Path),
			doctor.Both("nothing needs it any more: remove it", "它已无用途:请删除"))
	}
	_, readErr := readRequest(x.c.Dir)
	asked := !errors.Is(readErr, fs.ErrNotExist)
	s, err := readStatus(x.c.Dir)
	switch {
	case asked && !x.running:
		x.Add("rotation", doctor.Warn, doctor.Both("another key was asked for, and no agent runs", "已请求更换密钥,但 agent 未运行"),
			doctor.Both("start the agent: it goes on with that", "请启动 agent,它会继续更换"))
	case err != nil || s.Rotation == nil || !x.running:
	case s.Rotation.Failed:
		said, hint, _ := strings.Cut(s.Rotation.State, "\nhint: ")
		x.Add("rotation", doctor.Warn, doctor.Both("it came to nothing, and nothing has changed: %s", "未能更换密钥,一切未变:%s", said), doctor.Same(hint))
	default:
		x.Add("rotation", doctor.OK, doctor.Both("under way: %s", "正在更换密钥:%s", s.Rotation.State), doctor.Words{})
	}
}

// hardware asks every bus, probe and reader once.
func (x *examination) hardware(ctx context.Context) {
	hw := hardware.Open(ctx, x.c.File, slog.New(slog.DiscardHandler))
	defer hw.Close()
	for _, f := range hw.Findings {
		switch {
		case f.Err != nil:
			level := doctor.Fail
			if f.Optional {
				level = doctor.Warn
			}
			said, hint, _ := strings.Cut(f.Err.Error(), "\nhint: ")
			x.Add(f.Part, level, doctor.Same(said), doctor.Words{En: hint, Zh: busHint(f, hint)})
		default:
			x.Add(f.Part, doctor.OK, doctor.Same(f.Found), doctor.Words{})
		}
	}
	if len(hw.Probes) == 0 && len(hw.Readers) == 0 {
		x.Add("hardware", doctor.Fail, doctor.Both("there is no probe and no reader", "没有任何探头或读卡器"),
			doctor.Both("name the buses and readers in the configuration file", "请在设置文件中填写总线与读卡器"))
	}
	for _, p := range hw.Probes {
		pctx, cancel := context.WithTimeout(ctx, probeWait)
		s := p.Sample(pctx)
		cancel()
		x.probe(p.Channel(), p.Unit(), s)
	}
	for _, r := range hw.Readers {
		x.reader(ctx, r)
	}
}

// busHint is the hint of a bus in Chinese, for the commonest of reasons.
func busHint(f hardware.Finding, hint string) string {
	switch {
	case errors.Is(f.Err, fs.ErrPermission):
		return "当前用户无权访问:请以 agent 的用户运行,并安装 60-trailmark-agent.rules(" + hint + ")"
	case errors.Is(f.Err, fs.ErrNotExist):
		return "未找到该总线或端口:请在树莓派 config.txt 中启用并重启;可有可无时写 optional: true(" + hint + ")"
	}
	return hint
}

func (x *examination) probe(channel, unit string, s sensor.Sample) {
	if s.Fault != sensor.FaultNone {
		x.Add("probe", doctor.Fail, doctor.Both("%s: fault %s", "%s:故障 %s", channel, s.Fault),
			doctor.Both("check plug, cable and supply; gone: no answer, crc: a bad line, power-on: a brown-out",
				"请检查插头、线缆与供电;gone 无应答,crc 线路不良,power-on 掉电复位"))
		return
	}
	x.Add("probe", doctor.OK, doctor.Same(fmt.Sprintf("%s: %.3f %s", channel, float64(s.Milli)/1000, unit)), doctor.Words{})
}

// reader waits until a reader says that it works, or why not.
func (x *examination) reader(ctx context.Context, r station.Reader) {
	ctx, cancel := context.WithTimeout(ctx, readerWait)
	defer cancel()
	type word struct {
		up  bool
		why string
	}
	words := make(chan word, 8)
	reader, err := r.Open(func(up bool, why string) {
		select {
		case words <- word{up, why}:
		default: // the first one is enough
		}
	})
	if err != nil {
		x.Error("reader", doctor.Fail, err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- reader.Run(ctx, func(rfid.Read) {}) }()
	said := word{why: "no answer"}
	select {
	case said = <-words:
	case <-ctx.Done():
	}
	cancel()
	<-ended // the next may be on the same bus
	if !said.up {
		x.Add("reader", doctor.Fail, doctor.Both("%s does not work: %s", "%s 不工作:%s", r.Name, said.why),
			doctor.Both("check power, cable and address; an LLRP reader serves one client at a time", "请检查电源、线缆与地址;LLRP 读写器同一时间只接受一个连接"))
		return
	}
	x.Add("reader", doctor.OK, doctor.Same(r.Name+": "+said.why), doctor.Words{})
}

// reported gives what the running agent says of probes and readers.
func (x *examination) reported() {
	s, err := readStatus(x.c.Dir)
	if err != nil {
		x.Error("hardware", doctor.Warn, err)
		return
	}
	x.Add("hardware", doctor.Skip, doctor.Both("the running agent (process %d) has buses and readers: this is what it said %s", "总线与读卡器由运行中的 agent(进程 %d)占用,以下是它在 %s 的报告",
		s.PID, s.Written.Local().Format(time.DateTime)), doctor.Words{})
	stale := 5 * max(time.Duration(x.c.Every), time.Duration(x.c.Seal))
	for _, p := range s.Probes {
		line := p.Channel + ": " + said(p)
		switch {
		case p.Fault != "":
			x.Add("probe", doctor.Fail, doctor.Same(line), doctor.Both("check plug, cable and supply", "请检查插头、线缆与供电"))
		case p.At.IsZero() || s.Written.Sub(p.At) > stale:
			x.Add("probe", doctor.Fail, doctor.Both("%s, long ago", "%s,已长时间无读数", line), doctor.Both("see the log: journalctl -u trailmark-agent", "请查看日志:journalctl -u trailmark-agent"))
		default:
			x.Add("probe", doctor.OK, doctor.Same(line), doctor.Words{})
		}
	}
	for _, r := range s.Readers {
		if r.Up {
			x.Add("reader", doctor.OK, doctor.Same(r.Name+": "+r.Why), doctor.Words{})
		} else {
			x.Add("reader", doctor.Fail, doctor.Both("%s does not work: %s", "%s 不工作:%s", r.Name, r.Why),
				doctor.Both("check power, cable and address", "请检查电源、线缆与地址"))
		}
	}
}

// gateway looks whether gateway and broker are there and who they should be.
func (x *examination) gateway(ctx context.Context) {
	route := doctor.Both("check network, address and firewall", "请检查网络、地址与防火墙")
	if x.e == nil {
		claim, err := x.c.claim()
		if err != nil {
			x.Add("gateway", doctor.Skip, doctor.Both("without enrolment or claim nobody can tell which gateway is ours", "没有登记或领取码,无法确认网关身份"), doctor.Words{})
			return
		}
		ctx, cancel := context.WithTimeout(ctx, serverWait)
		defer cancel()
		if _, err := est.Bootstrap(ctx, claim.Gateway, claim.Fingerprint); err != nil {
			x.Add("gateway", doctor.Fail, doctor.Same(err.Error()), route)
			return
		}
		x.Add("gateway", doctor.OK, doctor.Both("%s is the one that made the claim", "%s 与领取码一致", claim.Gateway), doctor.Words{})
		return
	}
	for _, s := range []struct{ name, address string }{{"gateway", x.e.Gateway}, {"broker", x.e.Broker}} {
		if err := handshake(ctx, s.address, x.e.CA, func() (*tls.Certificate, error) { return x.e.TLSCertificate(x.key), nil }); err != nil {
			x.Add(s.name, doctor.Fail, doctor.Same(s.address+": "+err.Error()), route)
			continue
		}
		x.Add(s.name, doctor.OK, doctor.Both("%s answers and is certified by our CA", "%s 可连接,证书由本系统 CA 签发", s.address), doctor.Words{})
	}
}

// handshake meets a server and leaves again.
func handshake(ctx context.Context, address string, ca *x509.Certificate, own func() (*tls.Certificate, error)) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "mqtts": "8883"}[u.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	d := tls.Dialer{Config: est.ServerTLS(ca, u.Hostname(), own)}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// backlogOld is how old the last receipt may be while frames wait.
const backlogOld = time.Hour

// receipts says what of this device has reached the ledger.
func (x *examination) receipts() {
	s, err := readStatus(x.c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		x.Add("receipts", doctor.Skip, doctor.Both("no agent has run here", "agent 尚未运行过"), doctor.Words{})
		return
	} else if err != nil {
		x.Error("receipts", doctor.Warn, err)
		return
	}
	if !x.running {
		x.Add("agent", doctor.Warn, doctor.Both("it does not run; what follows is of %s", "agent 未运行;以下信息截至 %s", s.Written.Local().Format(time.DateTime)),
			doctor.Both("systemctl start trailmark-agent", "systemctl start trailmark-agent"))
	}
	waiting := s.Next - min(s.Receipted, s.Next)
	line := doctor.Both("%d frames signed, %d without receipt, last receipt %s", "已签名 %d 帧,%d 帧未收到回执,最近回执:%s", s.Next, waiting, ago(time.Now(), s.ReceiptAt))
	switch {
	case s.Alarm:
		x.Add("receipts", doctor.Fail, doctor.Both("someone else signed under this device's numbers", "有人以本设备的序号签名"),
			doctor.Both("the key was copied, or the card was: keep it as evidence and enrol the device anew", "密钥或存储卡被复制:请保留证据并重新登记设备"))
	case waiting > 0 && time.Since(s.ReceiptAt) > backlogOld:
		x.Add("receipts", doctor.Warn, line, doctor.Both("nothing is lost: frames are kept until the gateway answers", "数据未丢失:网关恢复后会补发"))
	default:
		x.Add("receipts", doctor.OK, line, doctor.Words{})
	}
	x.witness(s.Status)
	line = doctor.Both("frames take %s of %s, %d lost", "数据占用 %s / %s,丢失 %d 帧", mega(s.CardBytes), mega(s.Budget), s.LostFrames)
	switch {
	case s.CardFull:
		x.Add("card", doctor.Fail, line, doctor.Both("the card takes no frame: make room, or replace it", "存储卡已无法写入:请清理或更换"))
	case s.LostFrames > 0:
		x.Add("card", doctor.Warn, line, doctor.Both("the card lost frames, which was signed as a gap: replace it", "存储卡丢过数据(已签名记录缺口):请更换"))
	case s.Budget > 0 && s.CardBytes > s.Budget/5*4:
		x.Add("card", doctor.Warn, line, doctor.Both("the budget is nearly used up: bring the network back, or raise card", "额度将用尽:请恢复网络或增大 card"))
	default:
		x.Add("card", doctor.OK, line, doctor.Words{})
	}
}

// witness says whether the device cosigns, and shows a ledger that contradicted
// itself.
func (x *examination) witness(s station.Status) {
	switch {
	case s.Accused != "":
		x.Add("witness", doctor.Fail, doctor.Both("the ledger contradicts itself: two heads in %s", "账本自相矛盾:两个账本头见 %s", filepath.Join(x.c.Dir, s.Accused)),
			doctor.Both("give the file to whoever audits the operator, and keep the card", "请把该文件交给审计方,并保留存储卡"))
	case s.NoWitness != "":
		x.Add("witness", doctor.Skip, doctor.Both("checks the ledger's heads and cosigns none: %s", "核对账本头,但不联署:%s", s.NoWitness), doctor.Words{})
	default:
		x.Add("witness", doctor.OK, doctor.Both("cosigns the ledger's heads, up to %d entries so far", "联署账本头,已至 %d 条", s.Cosigned), doctor.Words{})
	}
}
