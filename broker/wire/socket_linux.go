package wire

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Whether sockets are read and written by our own system calls.
const (
	readsRaw  = true
	writesRaw = true
)

// maxSendfile is what one sendfile may be asked for; the system's limit is a page short
// of 2 GiB.
const maxSendfile = 1 << 30

// readNow reads what the socket has.
func readNow(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// sendVectors sends what the socket takes of vectors, in one call. more says that
// something follows at once, so that a last short packet waits for it.
func sendVectors(fd int, vectors [][]byte, more bool) (int, error) {
	flags := unix.MSG_NOSIGNAL
	if more {
		flags |= unix.MSG_MORE
	}
	for {
		n, err := unix.SendmsgBuffers(fd, vectors, nil, nil, flags)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// sendFile sends what the socket takes of size bytes of file from position on. 0 without
// an error is the end of the file.
func sendFile(fd, file int, position, size int64) (int, error) {
	for {
		n, err := unix.Sendfile(fd, file, &position, int(min(size, maxSendfile)))
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// setCork holds back packets that are not full, or lets them go.
func setCork(fd int, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_CORK, value)
}

// maxDescriptors is how many files this process may have open.
func maxDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return 1 << 30
	}
	return int(limit.Cur)
}
