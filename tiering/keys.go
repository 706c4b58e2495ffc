package tiering

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// kind is what an object is, as its key says.
type kind uint8

// The kinds of objects. The numbers are part of the format.
const (
	kindSegment kind = 1
	kindLeaf    kind = 2 // of entries, and with them the segments they name
	kindNode    kind = 3 // of references to leaves, and with them all below
	kindRoot    kind = 4
	kindOrphan  kind = 5 // a leaf or node that no root ever named, without what it names
)

// directory is the third-last component of a key.
func (k kind) directory() string {
	switch k {
	case kindSegment:
		return "seg"
	case kindLeaf, kindNode, kindOrphan:
		return "leaf"
	default:
		return "root"
	}
}

// name is the variable part of a key: what has to be remembered of an object.
type name struct {
	number int64 // base offset; of a root its seq
	epoch  int32 // leader epoch of the writer
	id     uuid.UUID
}

// partitionPrefix is what every key of a partition begins with, without a slash at its end.
func partitionPrefix(clusterID string, p PartitionID) string {
	return fmt.Sprintf("%s/%s/%05d", clusterID, uuid.UUID(p.Topic), p.Partition)
}

// key composes the key of an object.
func (n name) key(prefix string, k kind) string {
	return fmt.Sprintf("%s/%s/%020d-%010d-%s", prefix, k.directory(), n.number, n.epoch, n.id)
}

var errBadName = errors.New("not a key of this format")

// parseKey is the reverse of name.key. A leaf and a node look the same: it returns kindLeaf.
func parseKey(key string) (prefix string, k kind, n name, err error) {
	parts := strings.Split(key, "/")
	if len(parts) != 5 {
		return "", 0, name{}, errBadName
	}
	switch parts[3] {
	case "seg":
		k = kindSegment
	case "leaf":
		k = kindLeaf
	case "root":
		k = kindRoot
	default:
		return "", 0, name{}, errBadName
	}
	last := parts[4]
	const numberSize, epochSize = 20, 10
	if len(last) != numberSize+1+epochSize+1+36 || last[numberSize] != '-' || last[numberSize+1+epochSize] != '-' {
		return "", 0, name{}, errBadName
	}
	number, numberErr := strconv.ParseInt(last[:numberSize], 10, 64)
	epoch, epochErr := strconv.ParseInt(last[numberSize+1:numberSize+1+epochSize], 10, 32)
	id, idErr := uuid.Parse(last[numberSize+1+epochSize+1:])
	if numberErr != nil || epochErr != nil || idErr != nil {
		return "", 0, name{}, errBadName
	}
	return strings.Join(parts[:3], "/"), k, name{number, int32(epoch), id}, nil
}

// announced is the kind of an object that only an intent names: a leaf or node then has
// nothing below it that would be its own, and is deleted alone.
func (k kind) announced() kind {
	if k == kindLeaf {
		return kindOrphan
	}
	return k
}
