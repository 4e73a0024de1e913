package upstream

import "golang.org/x/sys/unix"

// acked gives the number of bytes that the peer's kernel has acknowledged, the
// opening SYN included.
func acked(fd uintptr) (uint64, bool) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, false
	}
	return info.Bytes_acked, true
}
