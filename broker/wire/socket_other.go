//go:build !linux

package wire

import "errors"

// Elsewhere than on Linux everything goes through net and is copied.
const (
	readsRaw  = false
	writesRaw = false
)

var errNotLinux = errors.New("not on this system")

func readNow(int, []byte) (int, error)             { return 0, errNotLinux }
func sendVectors(int, [][]byte, bool) (int, error) { return 0, errNotLinux }
func sendFile(int, int, int64, int64) (int, error) { return 0, errNotLinux }
func setCork(int, bool) error                      { return errNotLinux }
func maxDescriptors() int                          { return 1 << 30 }
