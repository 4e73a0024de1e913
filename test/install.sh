#!/bin/sh
# Installs the distribution packages that the system tests and the benchmark
# drive: nginx and HAProxy as peers, wrk and h2load as load generators, and the
# C++ compiler that links DuckDB. What is there already stays as it is; when
# everything is there, nothing is run.
set -eu

missing=""
need() { # need COMMAND PACKAGE
	PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need nginx nginx
need haproxy haproxy
need wrk wrk
need h2load nghttp2-client
need g++ g++

if [ -z "$missing" ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "test/install.sh: missing:$missing; apt-get is not on this machine: install them with its own package manager, then run this again" >&2
	exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "test/install.sh: missing:$missing; installing needs root and sudo is not on this machine: run as root: apt-get install$missing" >&2
		exit 1
	fi
	sudo="sudo"
fi

echo "test/install.sh: installing$missing" >&2
# A package's service must not start: the tests start their own processes on
# ports of their own. policy-rc.d is how Debian is told so; an existing one wins.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee "$guard" >/dev/null
	$sudo chmod 755 "$guard"
	trap '$sudo rm -f "$guard"' EXIT
fi
$sudo apt-get update -q
# shellcheck disable=SC2086 # the list is meant to be split into words
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q -y --no-install-recommends $missing
