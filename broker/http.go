package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpServer serves operators: metrics, health, profiles and the state of the tier. It
// listens on loopback unless told otherwise, for it asks nobody who they are.
type httpServer struct {
	listener net.Listener // nil: switched off
	server   *http.Server
	ready    atomic.Bool
}

// listenHTTP binds varve.http.listener and says what is served there.
func (b *Broker) listenHTTP(ctx context.Context) (*httpServer, error) {
	h := &httpServer{}
	if b.config().HTTPListener == "" {
		return h, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", b.config().HTTPListener)
	if err != nil {
		return nil, fmt.Errorf("varve.http.listener: choose another address, or leave it empty to switch HTTP off: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !h.ready.Load() {
			answer(w, http.StatusServiceUnavailable, "starting or stopping")
		} else if err := b.store.Health(); err != nil {
			answer(w, http.StatusServiceUnavailable, "metadata: "+err.Error())
		} else {
			answer(w, http.StatusOK, "ready")
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.registry(), promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /tier", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b.tierStatus(r.Context(), r.URL.Query().Get("topic"))) // a reader that has gone
	})
	mux.HandleFunc("GET /tier/explain", b.handleExplain)
	mux.HandleFunc("GET /tier/rehearse", b.handleRehearse)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	h.listener = l
	h.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return h, nil
}

func answer(w http.ResponseWriter, status int, sentence string) {
	w.WriteHeader(status)
	_, _ = w.Write([]byte(sentence + "\n")) // a prober that has gone
}

// serve answers until ctx ends.
func (h *httpServer) serve(ctx context.Context) error {
	if h.listener == nil {
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		h.ready.Store(false)
		h.close()
	})
	defer stop()
	if err := h.server.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (h *httpServer) close() {
	if h.server != nil {
		h.server.Close() // scrapes are not worth waiting for
		h.listener.Close()
	}
}

func (h *httpServer) address() string {
	if h.listener == nil {
		return ""
	}
	return h.listener.Addr().String()
}
