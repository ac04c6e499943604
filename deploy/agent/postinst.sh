#!/bin/sh
# The user, the unit; it starts by itself only where it was configured before.
set -e
[ "$1" = configure ] || exit 0
systemd-sysusers trailmark-agent.conf
if [ -d /run/systemd/system ]; then
	udevadm control --reload || true
	udevadm trigger --subsystem-match=i2c-dev --subsystem-match=spidev --subsystem-match=gpio || true
	systemctl daemon-reload
	systemctl enable trailmark-agent.service
	[ ! -e /etc/trailmark/agent.yaml ] || systemctl restart trailmark-agent.service
fi
if [ ! -e /etc/trailmark/agent.yaml ]; then
	echo "trailmark-agent: 下一步 / next:"
	echo "  cp /usr/share/doc/trailmark-agent/agent.example.yaml /etc/trailmark/agent.yaml"
	echo "  编辑网关与领取码 / set gateway and claim, then: systemctl start trailmark-agent"
fi
