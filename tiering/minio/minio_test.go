package minio_test

import (
	"testing"

	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/tiering/minio"
	"github.com/varvelog/varve/tiering/objstore"
)

func open(o minio.Options) (objstore.Bucket, error) { return minio.New(o) }

func TestDriver(t *testing.T) { stores.RunDriver(t, open) }

func TestNewRefusesWhatCannotWork(t *testing.T) {
	stores.RunRefusals(t, open,
		stores.Refusal{Name: "no endpoint", Change: func(o *minio.Options) { o.Endpoint = "" }, Want: "needs an endpoint"},
		stores.Refusal{Name: "no keys", Change: func(o *minio.Options) { o.AccessKeyID, o.SecretAccessKey = "", "" }, Want: "needs an access key"})
}
