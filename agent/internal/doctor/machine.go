package doctor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"trailmark/agent/internal/clock"
)

// few is how much room a card must have left, in bytes: some hours of frames.
const few = 64 << 20

// File systems that forget (statfs(2)).
var volatile = map[int64]string{unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay"}

var kept = map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.F2FS_SUPER_MAGIC: "f2fs", unix.MSDOS_SUPER_MAGIC: "vfat"}

// Folder looks at the data folder, in which frames take used of at most budget
// bytes.
func (r *Report) Folder(dir string, used, budget int64) {
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		parent := filepath.Dir(dir)
		if unix.Access(parent, unix.W_OK|unix.X_OK) != nil {
			r.Add("folder", Fail, Both("%s is not there, and this user may not make it", "%s 不存在,当前用户无权创建", dir),
				Both("run the doctor as the agent's user: sudo -u trailmark-agent trailmark-agent doctor", "请以 agent 的用户运行:sudo -u trailmark-agent trailmark-agent doctor"))
			return
		}
		r.Add("folder", Warn, Both("%s is not there yet", "%s 尚不存在", dir), Both("the agent makes it when it starts", "agent 启动时会自动创建"))
		return
	}
	if err != nil {
		r.Error("folder", Fail, err)
		return
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		r.Error("folder", Fail, err)
		return
	}
	free := int64(fs.Bavail) * int64(fs.Bsize)
	name, forgets := volatile[int64(fs.Type)]
	if !forgets {
		if name = kept[int64(fs.Type)]; name == "" {
			name = "?"
		}
	}
	said := Both("%s: mode %04o, %s, %d MB free", "%s:权限 %04o,%s,剩余 %d MB", dir, info.Mode().Perm(), name, free>>20)
	switch {
	case !info.IsDir():
		r.Add("folder", Fail, Both("%s is not a folder", "%s 不是目录", dir), Both("give another one as dir", "请用 dir 指定其他目录"))
	case unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) != nil:
		r.Add("folder", Fail, said, Both("this user may not write there: chown -R trailmark-agent %[1]s, or run the doctor as that user",
			"当前用户不可写:chown -R trailmark-agent %[1]s,或以该用户运行", dir))
	case forgets:
		r.Add("folder", Warn, said, Both("%s forgets at power off, and with it go unsent frames and the key: use a partition of its own", "%s 断电即失,未发送的数据与密钥会丢失:请使用独立数据分区", name))
	case free < few:
		r.Add("folder", Fail, said, Both("make room: the card is nearly full", "存储卡快满了,请清理空间"))
	case free < budget-used:
		r.Add("folder", Warn, said, Both("frames may take %d MB more than that: lower card, or make room", "设置允许再用 %d MB,超出剩余空间:请减小 card 或清理空间", (budget-used-free)>>20))
	case info.Mode().Perm()&0o077 != 0:
		r.Add("folder", Warn, said, Both("others can look into it: chmod 700 %s", "其他用户可读:chmod 700 %s", dir))
	default:
		r.Add("folder", OK, said, Words{})
	}
}

// Clock looks at the machine's clock.
func (r *Report) Clock() {
	id, err := clock.BootID()
	var c *clock.Clock
	if err == nil {
		c, err = clock.New(clock.Options{BootID: id, BootCount: 1})
	}
	if err != nil {
		r.Error("clock", Fail, err)
		return
	}
	ntp := Both("install chrony and let it reach a time server", "请安装 chrony 并确保可访问时间服务器")
	switch now := c.Now(); now.Quality {
	case clock.Synchronised:
		r.Add("clock", OK, Both("synchronised, off by at most %d ms", "已同步,误差不超过 %d 毫秒", now.MaxErrorMS), Words{})
	case clock.RTC:
		r.Add("clock", Warn, Both("from the real-time clock, not synchronised now", "来自实时时钟(RTC),当前未同步"), ntp)
	case clock.Restored:
		r.Add("clock", Warn, Both("restored: late by however long the power was off", "时间为恢复值:比真实时间晚断电的时长"), ntp)
	default:
		r.Add("clock", Warn, Both("not set: frames carry the time since boot only", "未设置:数据帧只带开机以来的时间"), ntp)
	}
	for _, path := range []string{"/etc/fake-hwclock.data", "/sbin/fake-hwclock", "/usr/sbin/fake-hwclock"} {
		if _, err := os.Stat(path); err == nil {
			r.Add("clock", Warn, Both("fake-hwclock is installed: after a power cut it gives a time that looks right and is not", "已安装 fake-hwclock:断电后它给出看似正确的错误时间"),
				Both("with a real-time clock on the board: apt purge fake-hwclock", "若已装 RTC 模块:apt purge fake-hwclock"))
			break
		}
	}
}

// Watchdog looks at the machine's watchdog: the unit's own only helps while the
// kernel runs.
func (r *Report) Watchdog() {
	state, err := os.ReadFile("/sys/class/watchdog/watchdog0/state")
	hint := Both("set RuntimeWatchdogSec=15 in /etc/systemd/system.conf", "在 /etc/systemd/system.conf 中设置 RuntimeWatchdogSec=15")
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.Add("watchdog", Warn, Both("this machine has none: if the kernel hangs, nobody restarts it", "本机没有硬件看门狗:内核死机时不会自动重启"),
			Both("on a Raspberry Pi add dtparam=watchdog=on to config.txt", "树莓派请在 config.txt 加入 dtparam=watchdog=on"))
	case err != nil:
		r.Error("watchdog", Warn, err)
	case string(bytes.TrimSpace(state)) == "active":
		r.Add("watchdog", OK, Both("the machine restarts if its kernel hangs", "内核死机时会自动重启"), Words{})
	default:
		r.Add("watchdog", Warn, Both("the machine has one, and nobody uses it", "有硬件看门狗,但未启用"), hint)
	}
}
