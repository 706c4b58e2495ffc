package stores

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/objstore/s3api"
)

// RunFaults is the suite of what can go wrong between an S3 driver and a store: every
// fault becomes the right error within its deadline, with no more requests than the
// call is made of.
func RunFaults(t *testing.T, store *Store, open func(*testing.T, s3api.Options) objstore.Bucket) {
	s := &faultSuite{store: store, proxy: NewProxy(t, store.Endpoint), open: open}
	t.Run("EveryAnswerMapsToItsSentinelWithOneRequest", s.testAnswers)
	t.Run("EveryCallMapsUnavailable", s.testCalls)
	t.Run("HangEndsWithTheDeadline", s.testHang)
	t.Run("HangEndsWithTheHeaderTimeout", s.testHeaderTimeout)
	t.Run("CancelEndsAReadUnderWay", s.testCancelRead)
	t.Run("CutBodyIsErrUnexpectedEOF", s.testTruncated)
	t.Run("OtherRangeThanAskedForIsErrMismatch", s.testOtherRange)
	t.Run("SlowBodyArrivesWhole", s.testSlow)
	t.Run("FlippedBitOfAnUploadIsRefused", s.testFlippedUpload)
	t.Run("ErrorAfterEffectLeavesTheWholeObject", s.testAfterEffect)
	t.Run("FailedPartLeavesNeitherObjectNorParts", s.testFailedPart)
	t.Run("FailedCompleteIsUnknownAndAbortable", s.testFailedComplete)
	t.Run("BulkDeleteReportsEachKey", s.testPartialDelete)
	t.Run("StoreWithoutBulkDeleteIsServedSingly", s.testNoBulkDelete)
	t.Run("MissingBucketIsErrNoBucket", s.testMissingBucket)
	t.Run("WrongKeysAreErrDenied", s.testWrongKeys)
	t.Run("NobodyListeningIsErrUnavailable", s.testRefused)
	t.Run("KMSKeyEncryptsObjects", s.testKMS)
	t.Run("TLSCarriesEverythingAndIsVerified", s.testTLS)
}

type faultSuite struct {
	store *Store
	proxy *Proxy
	open  func(*testing.T, s3api.Options) objstore.Bucket
	opens int
}

// bucket opens a Bucket through the healed proxy with one object, "there", of 100 KiB.
func (s *faultSuite) bucket(t *testing.T, change ...func(*s3api.Options)) objstore.Bucket {
	t.Helper()
	s.proxy.Inject(nil)
	s.opens++
	o := s3api.Options{
		Endpoint: s.proxy.Endpoint, Bucket: "faults", Prefix: fmt.Sprintf("f%d/", s.opens), Region: Region,
		AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, PathStyle: true,
		SinglePutSize: s3api.MinPartSize, PartSize: s3api.MinPartSize, CreateBucket: true,
	}
	for _, f := range change {
		f(&o)
	}
	b := s.open(t, o)
	if err := b.(objstore.Checker).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "there", there); err != nil {
		t.Fatal(err)
	}
	return b
}

var there = objstoretest.Bytes(100<<10, 1)

// always injects one fault into every request.
func (s *faultSuite) always(fault Fault) { s.proxy.Inject(func(*http.Request) Fault { return fault }) }

// oneRequest fails unless the proxy saw exactly one.
func (s *faultSuite) oneRequest(t *testing.T, what string) {
	t.Helper()
	if requests := s.proxy.Requests(); len(requests) != 1 {
		t.Errorf("%s made %d requests, want 1: %q", what, len(requests), requests)
	}
}

func (s *faultSuite) testAnswers(t *testing.T) {
	b := s.bucket(t)
	tests := []struct {
		status int
		code   string
		want   error
	}{
		{503, "SlowDown", objstore.ErrUnavailable},
		{503, "ServiceUnavailable", objstore.ErrUnavailable},
		{500, "InternalError", objstore.ErrUnavailable},
		{502, "", objstore.ErrUnavailable},
		{504, "GatewayTimeout", objstore.ErrUnavailable},
		{507, "XMinioStorageFull", objstore.ErrUnavailable},
		{429, "TooManyRequests", objstore.ErrUnavailable},
		{400, "RequestTimeout", objstore.ErrUnavailable},
		{403, "AccessDenied", objstore.ErrDenied},
		{403, "SignatureDoesNotMatch", objstore.ErrDenied},
		{400, "ExpiredToken", objstore.ErrDenied},
		{401, "Unauthorized", objstore.ErrDenied},
		{404, "NoSuchKey", objstore.ErrNotFound},
		{404, "NoSuchBucket", objstore.ErrNoBucket},
		{416, "InvalidRange", objstore.ErrRange},
		{400, "BadDigest", objstore.ErrMismatch},
	}
	for _, tt := range tests {
		s.always(Fault{Status: tt.status, Code: tt.code})
		_, err := b.Get(t.Context(), "there", 0, 10)
		if !errors.Is(err, tt.want) {
			t.Errorf("Get answered %d %s = %v, want %v", tt.status, tt.code, err, tt.want)
		}
		s.oneRequest(t, fmt.Sprintf("Get answered %d %s", tt.status, tt.code))
	}
}

// calls returns every method of Bucket as a function.
func calls(b objstore.Bucket) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Put":    func(ctx context.Context) error { return b.Put(ctx, "new", objstoretest.Bytes(10, 2)) },
		"Get":    func(ctx context.Context) error { return discard(b.Get(ctx, "there", 0, 10)) },
		"Head":   func(ctx context.Context) error { _, err := b.Head(ctx, "there"); return err },
		"Delete": func(ctx context.Context) error { return b.Delete(ctx, []string{"there"})["there"] },
		"List": func(ctx context.Context) error {
			return b.List(ctx, "", func(objstore.Object) bool { return true })
		},
		"AbortUploads": func(ctx context.Context) error { return b.(objstore.Aborter).AbortUploads(ctx, "there") },
		"Check":        func(ctx context.Context) error { return b.(objstore.Checker).Check(ctx) },
	}
}

func discard(stream io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stream)
	return errors.Join(err, stream.Close())
}

func (s *faultSuite) testCalls(t *testing.T) {
	b := s.bucket(t)
	for _, fault := range []Fault{{Status: 503, Code: "SlowDown"}, {Status: 500, Code: "InternalError"}} {
		for name, call := range calls(b) {
			s.always(fault)
			if err := call(t.Context()); !errors.Is(err, objstore.ErrUnavailable) {
				t.Errorf("%s answered %d = %v, want ErrUnavailable", name, fault.Status, err)
			}
			s.oneRequest(t, name)
		}
	}
	for name, call := range calls(b) {
		s.always(Fault{Reset: true})
		if err := call(t.Context()); !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("%s reset = %v, want ErrUnavailable", name, err)
		}
		if requests := s.proxy.Requests(); len(requests) > 2 { // net/http may dial once more
			t.Errorf("%s reset made %d requests, want at most 2", name, len(requests))
		}
	}
}

func (s *faultSuite) testHang(t *testing.T) {
	b := s.bucket(t)
	for name, call := range calls(b) {
		// On a busy machine the request may not get out in time: then it gets more.
		for limit := 100 * time.Millisecond; limit < 10*time.Second; limit *= 3 {
			s.always(Fault{Hang: true})
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			began := time.Now()
			err := call(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, objstore.ErrUnavailable) {
				t.Errorf("%s = %v, want DeadlineExceeded and ErrUnavailable", name, err)
			}
			if took := time.Since(began); took > limit+5*time.Second {
				t.Errorf("%s took %v with a deadline of %v", name, took, limit)
			}
			if len(s.proxy.Requests()) > 0 {
				break
			}
		}
		s.oneRequest(t, name)
	}
}

func (s *faultSuite) testHeaderTimeout(t *testing.T) {
	b := s.bucket(t, func(o *s3api.Options) { o.ResponseHeaderTimeout = 200 * time.Millisecond })
	s.always(Fault{Hang: true})
	if _, err := b.Head(t.Context(), "there"); !errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("Head = %v, want ErrUnavailable", err)
	}
	s.oneRequest(t, "Head")
}

func (s *faultSuite) testCancelRead(t *testing.T) {
	b := s.bucket(t)
	s.always(Fault{HangAfter: 1000})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := b.Get(ctx, "there", 0, int64(len(there)))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := io.ReadFull(stream, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { _, err := stream.Read(make([]byte, 1)); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Read of a body that hangs = %v after cancel, want context.Canceled", err)
	}
}

func (s *faultSuite) testTruncated(t *testing.T) {
	b := s.bucket(t)
	s.always(Fault{Truncate: 1000})
	stream, err := b.Get(t.Context(), "there", 0, int64(len(there)))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	got, err := io.ReadAll(stream)
	if len(got) != 1000 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %d bytes, %v; want 1000 and io.ErrUnexpectedEOF", len(got), err)
	}
	s.oneRequest(t, "Get")
}

func (s *faultSuite) testOtherRange(t *testing.T) {
	b := s.bucket(t)
	for _, contentRange := range []string{"bytes 0-9/102400", "bytes 10-18/102400", "bytes 10-20/102400", "bytes x", "bytes 10-19/*", "bytes 10-19/5"} {
		s.always(Fault{ContentRange: contentRange})
		if err := discard(b.Get(t.Context(), "there", 10, 10)); !errors.Is(err, objstore.ErrMismatch) {
			t.Errorf("Get answered with %q = %v, want ErrMismatch", contentRange, err)
		}
	}
	s.always(Fault{Status: 200, Answer: "the whole object, from a store that knows no ranges"})
	if err := discard(b.Get(t.Context(), "there", 10, 10)); !errors.Is(err, objstore.ErrMismatch) {
		t.Errorf("Get answered with another range = %v, want ErrMismatch", err)
	}
}

func (s *faultSuite) testSlow(t *testing.T) {
	b := s.bucket(t)
	s.always(Fault{Slow: time.Millisecond})
	stream, err := b.Get(t.Context(), "there", 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if got, err := io.ReadAll(stream); err != nil || !bytes.Equal(got, there) {
		t.Errorf("read %d bytes, %v; want all of %d", len(got), err, len(there))
	}
}

func (s *faultSuite) testFlippedUpload(t *testing.T) {
	for _, checksum := range []s3api.Checksum{s3api.ChecksumWhenRequired, s3api.ChecksumWhenSupported} {
		b := s.bucket(t, func(o *s3api.Options) { o.Checksum = checksum })
		s.proxy.Inject(func(r *http.Request) Fault { return Fault{FlipUpload: r.Method == http.MethodPut} })
		for key, size := range map[string]int64{"small": 1000, "parts": 2*s3api.MinPartSize + 7} {
			if err := b.Put(t.Context(), key, objstoretest.Bytes(size, 3)); !errors.Is(err, objstore.ErrMismatch) {
				t.Errorf("%s: Put %s = %v, want ErrMismatch", checksum, key, err)
			}
			if _, err := b.Head(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
				t.Errorf("%s: Head %s = %v, want ErrNotFound", checksum, key, err)
			}
		}
	}
}

func (s *faultSuite) testAfterEffect(t *testing.T) {
	b := s.bucket(t)
	body := objstoretest.Bytes(1000, 4)
	for _, fault := range []Fault{{AfterEffect: true, Status: 500, Code: "InternalError"}, {AfterEffect: true}} {
		s.always(fault)
		if err := b.Put(t.Context(), "unknown", body); !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("Put = %v, want ErrUnavailable", err)
		}
		s.oneRequest(t, "Put")
		s.proxy.Inject(nil)
		if err := b.Put(t.Context(), "unknown", body); err != nil {
			t.Errorf("the same Put again = %v", err)
		}
	}
	if object, err := b.Head(t.Context(), "unknown"); err != nil || object.Size != 1000 {
		t.Errorf("Head = %d bytes, %v", object.Size, err)
	}
}

// uploads returns how many unfinished uploads the store has under a key.
func (s *faultSuite) uploads(t *testing.T, b objstore.Bucket, key string) int {
	t.Helper()
	s.proxy.Inject(nil)
	if err := b.(objstore.Aborter).AbortUploads(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	aborted := 0
	for _, request := range s.proxy.Requests() {
		if strings.HasPrefix(request, "DELETE") {
			aborted++
		}
	}
	return aborted
}

func (s *faultSuite) testFailedPart(t *testing.T) {
	b := s.bucket(t)
	s.proxy.Inject(func(r *http.Request) Fault {
		if r.URL.Query().Get("partNumber") == "2" {
			return Fault{Status: 503, Code: "SlowDown"}
		}
		return Fault{}
	})
	if err := b.Put(t.Context(), "parts", objstoretest.Bytes(2*s3api.MinPartSize+7, 5)); !errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("Put = %v, want ErrUnavailable", err)
	}
	if requests := s.proxy.Requests(); len(requests) > 5 { // create, three parts, abort
		t.Errorf("Put made %d requests, want at most 5: %q", len(requests), requests)
	}
	if n := s.uploads(t, b, "parts"); n != 0 {
		t.Errorf("%d uploads left, want none", n)
	}
	if _, err := b.Head(t.Context(), "parts"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("Head = %v, want ErrNotFound", err)
	}
}

func (s *faultSuite) testFailedComplete(t *testing.T) {
	b := s.bucket(t)
	body := objstoretest.Bytes(2*s3api.MinPartSize+7, 6)
	complete := func(fault Fault) func(*http.Request) Fault {
		return func(r *http.Request) Fault {
			if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") {
				return fault
			}
			return Fault{}
		}
	}
	s.proxy.Inject(complete(Fault{Status: 500, Code: "InternalError"}))
	if err := b.Put(t.Context(), "before", body); !errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("Put = %v, want ErrUnavailable", err)
	}
	if n := s.uploads(t, b, "before"); n != 1 {
		t.Errorf("AbortUploads dropped %d uploads, want the one whose outcome was unknown", n)
	}
	if n := s.uploads(t, b, "before"); n != 0 {
		t.Errorf("%d uploads left after AbortUploads", n)
	}
	s.proxy.Inject(complete(Fault{AfterEffect: true, Status: 500, Code: "InternalError"}))
	if err := b.Put(t.Context(), "after", body); !errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("Put = %v, want ErrUnavailable", err)
	}
	s.proxy.Inject(nil)
	if object, err := b.Head(t.Context(), "after"); err != nil || object.Size != body.Size() {
		t.Errorf("Head = %d bytes, %v; want the whole object", object.Size, err)
	}
	// An error inside an answer of 200, which a long completion may end in.
	s.proxy.Inject(complete(Fault{Status: 200, Code: "InternalError"}))
	if err := b.Put(t.Context(), "late", body); !errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("Put completed with an error in a 200 = %v, want ErrUnavailable", err)
	}
}

func (s *faultSuite) testPartialDelete(t *testing.T) {
	b := s.bucket(t)
	prefix := fmt.Sprintf("f%d/", s.opens)
	answer := `<?xml version="1.0" encoding="UTF-8"?><DeleteResult>` +
		`<Deleted><Key>` + prefix + `gone</Key></Deleted>` +
		`<Error><Key>` + prefix + `missing</Key><Code>NoSuchKey</Code><Message>m</Message></Error>` +
		`<Error><Key>` + prefix + `denied</Key><Code>AccessDenied</Code><Message>m</Message></Error>` +
		`<Error><Key>` + prefix + `later</Key><Code>InternalError</Code><Message>m</Message></Error>` +
		`</DeleteResult>`
	s.always(Fault{Status: 200, Answer: answer})
	errs := b.Delete(t.Context(), []string{"gone", "missing", "denied", "later", "forgotten"})
	s.oneRequest(t, "Delete")
	want := map[string]error{"denied": objstore.ErrDenied, "later": objstore.ErrUnavailable, "forgotten": objstore.ErrMismatch}
	if len(errs) != len(want) {
		t.Errorf("Delete = %v, want errors for 3 keys", errs)
	}
	for key, err := range want {
		if !errors.Is(errs[key], err) {
			t.Errorf("Delete of %s = %v, want %v", key, errs[key], err)
		}
	}
}

func (s *faultSuite) testNoBulkDelete(t *testing.T) {
	for _, fault := range []Fault{{Status: 501, Code: "NotImplemented"}, {Status: 400, Code: "MissingContentMD5"}} {
		b := s.bucket(t)
		s.proxy.Inject(func(r *http.Request) Fault {
			if r.Method == http.MethodPost {
				return fault
			}
			return Fault{}
		})
		for range 2 {
			if errs := b.Delete(t.Context(), []string{"there", "missing"}); errs != nil {
				t.Errorf("Delete = %v, want nil", errs)
			}
		}
		posts := 0
		for _, request := range s.proxy.Requests() {
			if strings.HasPrefix(request, "POST") {
				posts++
			}
		}
		if posts != 1 {
			t.Errorf("bulk delete was tried %d times after %s, want once", posts, fault.Code)
		}
		if _, err := b.Head(t.Context(), "there"); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("Head = %v, want ErrNotFound", err)
		}
	}
}

func (s *faultSuite) testMissingBucket(t *testing.T) {
	s.proxy.Inject(nil)
	b := s.open(t, s3api.Options{
		Endpoint: s.proxy.Endpoint, Bucket: "not-there", Region: Region, PathStyle: true,
		AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey,
	})
	err := b.(objstore.Checker).Check(t.Context())
	if !errors.Is(err, objstore.ErrNoBucket) || !strings.Contains(err.Error(), "create it") {
		t.Errorf("Check = %v, want ErrNoBucket and what to do", err)
	}
	if _, err := b.Get(t.Context(), "k", 0, 1); !errors.Is(err, objstore.ErrNoBucket) {
		t.Errorf("Get = %v, want ErrNoBucket", err)
	}
	if err := b.Put(t.Context(), "k", there); !errors.Is(err, objstore.ErrNoBucket) {
		t.Errorf("Put = %v, want ErrNoBucket", err)
	}
}

func (s *faultSuite) testWrongKeys(t *testing.T) {
	s.proxy.Inject(nil)
	b := s.open(t, s3api.Options{
		Endpoint: s.proxy.Endpoint, Bucket: "faults", Region: Region, PathStyle: true,
		AccessKeyID: AccessKeyID, SecretAccessKey: "a-wrong-secret",
	})
	for name, call := range calls(b) {
		if err := call(t.Context()); !errors.Is(err, objstore.ErrDenied) {
			t.Errorf("%s = %v, want ErrDenied", name, err)
		}
	}
}

func (s *faultSuite) testRefused(t *testing.T) {
	b := s.open(t, s3api.Options{
		Endpoint: "http://" + freeAddresses(t, 1)[0], Bucket: "faults", Region: Region, PathStyle: true,
		AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey,
	})
	for name, call := range calls(b) {
		if err := call(t.Context()); !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("%s = %v, want ErrUnavailable", name, err)
		}
	}
}

func (s *faultSuite) testKMS(t *testing.T) {
	b := s.bucket(t, func(o *s3api.Options) { o.KMSKeyID, o.StorageClass = KMSKeyID, "STANDARD" })
	body := objstoretest.Bytes(2*s3api.MinPartSize+7, 7)
	if err := b.Put(t.Context(), "encrypted", body); err != nil {
		t.Fatal(err)
	}
	stream, err := b.Get(t.Context(), "encrypted", s3api.MinPartSize-10, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if got, err := io.ReadAll(stream); err != nil || !bytes.Equal(got, body[s3api.MinPartSize-10:][:100]) {
		t.Errorf("read %d bytes across the parts, %v", len(got), err)
	}
}

func (s *faultSuite) testTLS(t *testing.T) {
	proxy, trust := NewTLSProxy(t, s.store.Endpoint)
	for _, checksum := range []s3api.Checksum{s3api.ChecksumWhenRequired, s3api.ChecksumWhenSupported} {
		b := s.bucket(t, func(o *s3api.Options) { o.Endpoint, o.TLS, o.Checksum = proxy.Endpoint, trust, checksum })
		body := objstoretest.Bytes(2*s3api.MinPartSize+7, 8)
		if err := b.Put(t.Context(), "secret", body); err != nil {
			t.Fatal(err)
		}
		if err := discard(b.Get(t.Context(), "secret", 5, 100)); err != nil {
			t.Error(err)
		}
		if errs := b.Delete(t.Context(), []string{"secret"}); errs != nil {
			t.Error(errs)
		}
	}
	stranger := s.open(t, s3api.Options{
		Endpoint: proxy.Endpoint, Bucket: "faults", Region: Region, PathStyle: true,
		AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, TLS: &tls.Config{RootCAs: x509.NewCertPool()},
	})
	if _, err := stranger.Head(t.Context(), "k"); err == nil || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("Head from a server nobody vouches for = %v, want an error that no retry heals", err)
	}
}
