package objstoretest

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/varvelog/varve/tiering/objstore"
)

// ErrBody is what a FailingBody fails with.
var ErrBody = errors.New("the body cannot be read")

// Bytes returns n bytes that differ everywhere and are the same for the same seed.
func Bytes(n int64, seed byte) objstore.BytesBody {
	random := rand.NewChaCha8([32]byte{seed})
	body := make(objstore.BytesBody, n)
	_, _ = random.Read(body) // never fails, by its documentation
	return body
}

// FailingBody promises Bytes and fails with ErrBody from position FailAt on.
type FailingBody struct {
	Bytes  objstore.BytesBody
	FailAt int64
}

// ReadAt implements io.ReaderAt.
func (b FailingBody) ReadAt(p []byte, position int64) (int, error) {
	if position >= b.FailAt {
		return 0, ErrBody
	}
	n, err := b.Bytes.ReadAt(p[:min(int64(len(p)), b.FailAt-position)], position)
	if err == nil && n < len(p) {
		err = ErrBody
	}
	return n, err
}

// Size implements objstore.Body.
func (b FailingBody) Size() int64 { return b.Bytes.Size() }

// ShortBody promises Promised bytes and ends after those it has.
type ShortBody struct {
	objstore.BytesBody
	Promised int64
}

// Size implements objstore.Body.
func (b ShortBody) Size() int64 { return b.Promised }

// WaitingBody delivers no byte before Ctx ends: a disk that hangs.
type WaitingBody struct {
	objstore.BytesBody
	Ctx context.Context
}

// ReadAt implements io.ReaderAt.
func (b WaitingBody) ReadAt(p []byte, position int64) (int, error) {
	<-b.Ctx.Done()
	return b.BytesBody.ReadAt(p, position)
}
