#!/bin/sh
# An upgrade restarts the unit once the new files are there.
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl disable --now trailmark-agent.service
fi
