package harness

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Seeded returns a random source whose seed is printed, or given by VARVE_E2E_SEED.
func Seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("VARVE_E2E_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed: VARVE_E2E_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}
