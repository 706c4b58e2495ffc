package stores_test

import (
	"net/http"
	"testing"

	"github.com/varvelog/varve/test/stores"
)

func TestServersAnswerWhenTheirFunctionReturns(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *stores.Store{"minio": stores.MinIO, "versitygw": stores.VersityGW} {
		t.Run(name, func(t *testing.T) {
			store := start(t)
			response, err := http.Get(store.Endpoint + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusForbidden {
				t.Errorf("%s answers an unsigned request with %s, want 403", store, response.Status)
			}
		})
	}
}

func TestProxyCountsRequestsAndAnswersInTheStoresPlace(t *testing.T) {
	proxy := stores.NewProxy(t, "http://127.0.0.1:1")
	proxy.Inject(func(*http.Request) stores.Fault {
		return stores.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
	})
	response, err := http.Get(proxy.Endpoint + "/bucket/key")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("answer %s, want 503", response.Status)
	}
	if got := proxy.Requests(); len(got) != 1 || got[0] != "GET /bucket/key" {
		t.Errorf("Requests = %q", got)
	}
}
