package s3api

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/varvelog/varve/tiering/objstore"
)

// Failure is an answer of the store that is not success. Status 0 is a failure inside
// an answer, as of one key of DeleteObjects.
type Failure struct {
	Status        int    // HTTP
	Code, Message string // S3's, "" for HEAD, whose answer has no body
}

// Error implements error.
func (f Failure) Error() string {
	switch {
	case f.Code == "":
		return fmt.Sprintf("%d %s", f.Status, http.StatusText(f.Status))
	case f.Status == 0:
		return fmt.Sprintf("%s: %s", f.Code, f.Message)
	default:
		return fmt.Sprintf("%d %s: %s", f.Status, f.Code, f.Message)
	}
}

// missing tells that the object is not there.
func (f Failure) missing() bool { return errors.Is(f.sentinel(), objstore.ErrNotFound) }

// unsupported tells that the store does not know the request, or insists on a header
// that newer SDKs no longer send with DeleteObjects.
func (f Failure) unsupported() bool {
	switch f.Code {
	case "NotImplemented", "MethodNotAllowed", "MissingContentMD5", "APINotSupported":
		return true
	}
	return f.Status == http.StatusNotImplemented || f.Status == http.StatusMethodNotAllowed
}

// classify returns the failure wrapped with its sentinel, if it has one.
func (f Failure) classify() error {
	if sentinel := f.sentinel(); sentinel != nil {
		return fmt.Errorf("%w: %w", sentinel, f)
	}
	return f
}

// sentinel decides by the code, which says more, and then by the status.
func (f Failure) sentinel() error {
	if sentinel, ok := sentinels[f.Code]; ok {
		return sentinel
	}
	switch {
	case f.Status == http.StatusNotFound:
		return objstore.ErrNotFound
	case f.Status == http.StatusUnauthorized, f.Status == http.StatusForbidden:
		return objstore.ErrDenied
	case f.Status == http.StatusRequestedRangeNotSatisfiable:
		return objstore.ErrRange
	case f.Status == http.StatusTooManyRequests, f.Status == http.StatusServiceUnavailable:
		return objstore.ErrSlowDown
	case f.Status == http.StatusRequestTimeout, f.Status >= 500:
		return objstore.ErrUnavailable
	}
	return nil
}

// sentinels holds the codes that mean more, or something else, than their status.
var sentinels = map[string]error{
	"NoSuchKey":     objstore.ErrNotFound,
	"NoSuchVersion": objstore.ErrNotFound,
	"NotFound":      objstore.ErrNotFound,
	"NoSuchBucket":  objstore.ErrNoBucket,
	// Somebody aborted the upload, or a lifecycle rule did: a new one may succeed.
	"NoSuchUpload": objstore.ErrUnavailable,
	"InvalidRange": objstore.ErrRange,

	"AccessDenied":          objstore.ErrDenied,
	"AllAccessDisabled":     objstore.ErrDenied,
	"AccountProblem":        objstore.ErrDenied,
	"ExpiredToken":          objstore.ErrDenied,
	"InvalidAccessKeyId":    objstore.ErrDenied,
	"InvalidToken":          objstore.ErrDenied,
	"RequestTimeTooSkewed":  objstore.ErrDenied,
	"SignatureDoesNotMatch": objstore.ErrDenied,

	"BadDigest":                   objstore.ErrMismatch,
	"IncompleteBody":              objstore.ErrMismatch,
	"InvalidDigest":               objstore.ErrMismatch,
	"XAmzContentChecksumMismatch": objstore.ErrMismatch,
	"XAmzContentSHA256Mismatch":   objstore.ErrMismatch,
	"ContentSHA256Mismatch":       objstore.ErrMismatch,
	"InvalidPart":                 objstore.ErrMismatch,
	"InternalError":               objstore.ErrUnavailable,
	"OperationAborted":            objstore.ErrUnavailable,
	"RequestTimeout":              objstore.ErrUnavailable,
	"ServiceUnavailable":          objstore.ErrSlowDown,
	"SlowDown":                    objstore.ErrSlowDown,
	"SlowDownRead":                objstore.ErrSlowDown,
	"SlowDownWrite":               objstore.ErrSlowDown,
	"Throttling":                  objstore.ErrSlowDown,
	"ThrottlingException":         objstore.ErrSlowDown,
	"RequestThrottled":            objstore.ErrSlowDown,
	"RequestLimitExceeded":        objstore.ErrSlowDown,
}

// classify turns the error of a Client into one of objstore's. The end of ctx comes
// first: whatever else went wrong then is its consequence.
func (b *Bucket) classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return deadlineIsUnavailable(ctxErr)
	}
	if failure, ok := b.client.Failure(err); ok {
		return failure.classify()
	}
	var (
		certificate *tls.CertificateVerificationError
		syntax      *xml.SyntaxError
		network     net.Error
		request     *url.Error
	)
	switch {
	case errors.Is(err, objstore.ErrMismatch), errors.As(err, &certificate):
		return err // no waiting helps against a wrong certificate
	case errors.As(err, &syntax):
		return fmt.Errorf("%w: the answer is not XML: %w", objstore.ErrMismatch, err)
	case errors.As(err, &network), errors.As(err, &request),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", objstore.ErrUnavailable, err)
	}
	return err
}

// deadlineIsUnavailable is ctx.Err() as objstore.Bucket promises it.
func deadlineIsUnavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", objstore.ErrUnavailable, err)
	}
	return err
}
