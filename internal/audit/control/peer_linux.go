package control

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUser is the number of the user at the other end.
func peerUser(conn net.Conn) (uid int, ok bool) {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, false
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return 0, false
	}
	var who *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) { who, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || asked != nil {
		return 0, false
	}
	return int(who.Uid), true
}
