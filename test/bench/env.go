package main

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// env lends the helpers of test/harness and test/stores what a test would: fatal errors,
// directories and cleanups. A fatal error is a panic with a failure that try turns into
// an error, so that one scenario that breaks leaves the others standing.
type env struct {
	testing.TB // nil: what is not defined below must not be called
	ctx        context.Context
	root       string // temporary directories are made here
	helpers    []int  // process ids whose work is not a disturbance: an object store
	cleanups   []func()
}

// failure is what Fatal panics with.
type failure string

func newEnv(ctx context.Context, root string) *env { return &env{ctx: ctx, root: root} }

// Helper, Failed, Logf, Name and the rest are the part of testing.TB that helpers use.
func (e *env) Helper()                           {}
func (e *env) Failed() bool                      { return false }
func (e *env) Name() string                      { return "bench" }
func (e *env) Context() context.Context          { return e.ctx }
func (e *env) Logf(format string, args ...any)   { say(format, args...) }
func (e *env) Fatal(args ...any)                 { panic(failure(fmt.Sprint(args...))) }
func (e *env) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }
func (e *env) Cleanup(f func())                  { e.cleanups = append(e.cleanups, f) }

func (e *env) TempDir() string {
	dir, err := os.MkdirTemp(e.root, "")
	e.check(err)
	e.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// check ends the scenario if there is an error.
func (e *env) check(err error) {
	if err != nil {
		e.Fatal(err)
	}
}

// close runs the cleanups, last in first out.
func (e *env) close() {
	for len(e.cleanups) > 0 {
		last := e.cleanups[len(e.cleanups)-1]
		e.cleanups = e.cleanups[:len(e.cleanups)-1]
		last()
	}
}

// try runs f and returns its fatal error, if there is one.
func try(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s", r)
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
