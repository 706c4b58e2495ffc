package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/broker/cluster"
)

func TestOneRequestAtATimeCreatesATopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c creations
		done, err := c.begin(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := c.begin(t.Context(), "b") // another name waits for nobody
		if err != nil {
			t.Fatal(err)
		}
		other(nil)
		impatient, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := c.begin(impatient, "a")
			gone <- err
		}()
		turns := make(chan func(error))
		for range 3 {
			go func() {
				done, err := c.begin(t.Context(), "a")
				if err != nil {
					t.Error(err)
				}
				turns <- done
			}()
		}
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("waiting with an ended context: %v", err)
		}
		for range 3 {
			synctest.Wait()
			select {
			case <-turns:
				t.Fatal("two have the turn")
			default:
			}
			done(kerr.ThrottlingQuotaExceeded) // is this request's own
			done = <-turns
		}
		done(nil)
		if len(c.underway) != 0 {
			t.Errorf("%d names are kept", len(c.underway))
		}
	})
}

// Nobody waits for the same timeout once for each who came before.
func TestAllWhoWaitForACreationAreToldThatItCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c creations
		done, err := c.begin(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error)
		for range 3 {
			go func() {
				_, err := c.begin(t.Context(), "a")
				errs <- err
			}()
		}
		synctest.Wait()
		done(cluster.ErrUnavailable)
		for range 3 {
			if err := <-errs; !errors.Is(err, cluster.ErrUnavailable) {
				t.Errorf("waited and got %v", err)
			}
		}
		if done, err = c.begin(t.Context(), "a"); err != nil {
			t.Fatalf("who comes later tries again, and got %v", err)
		}
		done(nil)
	})
}
