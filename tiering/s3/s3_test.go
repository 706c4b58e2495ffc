package s3_test

import (
	"testing"

	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/s3"
)

func open(o s3.Options) (objstore.Bucket, error) { return s3.New(o) }

func TestDriver(t *testing.T) { stores.RunDriver(t, open) }

func TestNewRefusesWhatCannotWork(t *testing.T) {
	stores.RunRefusals(t, open)
}
