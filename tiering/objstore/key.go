package objstore

import (
	"fmt"
	"strings"
)

// MaxKeyLength is what S3 allows, in bytes; a driver's own prefix counts too.
const MaxKeyLength = 1024

// MaxComponentLength is the longest name between two slashes, in bytes: the limit
// of the file systems under the file driver and under several S3 servers.
const MaxComponentLength = 255

// CheckKey returns an error that wraps ErrBadKey unless key is 1 to MaxKeyLength
// bytes of components joined by '/', each of 1 to MaxComponentLength letters, digits,
// '-', '_' and '.', none starting with '.'.
//
// These need no escaping in a URL, in XML or on a file system, and leave no room for
// "..", so a key means the same object in every driver. Names that start with '.' are
// left to the drivers.
func CheckKey(key string) error {
	if key == "" {
		return fmt.Errorf("%w: it is empty", ErrBadKey)
	}
	if len(key) > MaxKeyLength {
		return fmt.Errorf("%w %.64q...: %d bytes, at most %d", ErrBadKey, key, len(key), MaxKeyLength)
	}
	for component := range strings.SplitSeq(key, "/") {
		if err := checkComponent(component); err != nil {
			return fmt.Errorf("%w %q: %w", ErrBadKey, key, err)
		}
	}
	return nil
}

// CheckPrefix is CheckKey for the argument of List: it may be empty, and its last
// component may be empty or the beginning of a name.
func CheckPrefix(prefix string) error {
	if prefix == "" || strings.HasSuffix(prefix, "/") && prefix != "/" {
		prefix += "x"
	}
	return CheckKey(prefix)
}

// keyError says which rule a component breaks.
type keyError string

func (e keyError) Error() string { return string(e) }

func checkComponent(component string) error {
	switch {
	case component == "":
		return keyError("a name between slashes is empty")
	case len(component) > MaxComponentLength:
		return keyError("a name between slashes is longer than 255 bytes")
	case component[0] == '.':
		return keyError("a name starts with a dot")
	}
	for i := range len(component) {
		c := component[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return keyError("only letters, digits, '-', '_', '.' and '/' are allowed")
		}
	}
	return nil
}
