package cluster

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestQuotasAreReplacedOnlyIfUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		ctx := t.Context()
		user := "a/user with \"any\" name"
		alice := QuotaEntity{"user": &user, "client-id": nil}
		one, two := map[string]float64{"a": 0.1}, map[string]float64{"a": 1 << 53, "b": 2.5}
		first := n.Image()
		if err := n.SetQuota(ctx, alice, nil, one); err != nil {
			t.Fatal(err)
		}
		if d := n.Image().since(first); describe(d) != "changed [] deleted [] quotas" {
			t.Errorf("a quota was set: %s", describe(d))
		}
		if err := n.SetQuota(ctx, alice, nil, two); !errors.Is(err, ErrConflict) {
			t.Errorf("from what is not there: %v, want ErrConflict", err)
		}
		if err := n.SetQuota(ctx, alice, one, two); err != nil {
			t.Fatal(err)
		}
		if err := n.SetQuota(ctx, QuotaEntity{"user": nil}, nil, one); err != nil {
			t.Fatal(err)
		}
		if got := n.Image().QuotaOf(alice); !maps.Equal(got, two) {
			t.Errorf("image has %v, want %v", got, two)
		}
		before := n.Image()
		if err := n.reload(ctx); err != nil {
			t.Fatal(err)
		}
		if d := n.Image().since(before); d.Quotas {
			t.Error("quotas that were read again count as changed")
		}
		all := n.Image().Quotas()
		if len(all) != 2 || all[0].Entity["client-id"] != nil || *all[0].Entity["user"] != user || all[1].Entity["user"] != nil {
			t.Errorf("image has %v", all)
		}
		if err := n.SetQuota(ctx, alice, two, nil); err != nil {
			t.Fatal(err)
		}
		if got := n.Image().QuotaOf(alice); len(got) != 0 || len(n.Image().Quotas()) != 1 {
			t.Errorf("image has %v after removal", got)
		}
		long := strings.Repeat("x", maxQuotaEntity)
		for _, e := range []QuotaEntity{nil, {"user": &long}} {
			if err := n.SetQuota(ctx, e, nil, one); !errors.Is(err, ErrInvalid) {
				t.Errorf("entity of %d bytes: %v, want ErrInvalid", len(e.key()), err)
			}
		}
	})
}

func TestCredentialsAreReplacedOnlyIfUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		n := launch(t, o)
		ctx := t.Context()
		const user = "a/user with any name"
		one := Credentials{"SCRAM-SHA-256": {Iterations: 4096, Salt: "c2FsdA==", StoredKey: "secret", ServerKey: "secret"}}
		if err := n.SetCredentials(ctx, user, nil, one); err != nil {
			t.Fatal(err)
		}
		if err := n.SetCredentials(ctx, user, nil, one); !errors.Is(err, ErrConflict) {
			t.Errorf("from what is not there: %v, want ErrConflict", err)
		}
		if got := n.Image(); !maps.Equal(got.Credentials(user), one) || len(got.CredentialUsers()) != 1 {
			t.Errorf("image has %v of %v", got.Credentials(user), got.CredentialUsers())
		}
		if err := n.SetCredentials(ctx, user, one, nil); err != nil {
			t.Fatal(err)
		}
		if got := n.Image(); len(got.CredentialUsers()) != 0 {
			t.Errorf("image has %v after removal", got.CredentialUsers())
		}
		if err := n.SetCredentials(ctx, "", nil, one); !errors.Is(err, ErrInvalid) {
			t.Errorf("of nobody: %v, want ErrInvalid", err)
		}
		huge := Credentials{"SCRAM-SHA-256": {Salt: strings.Repeat("A", maxValueBytes)}}
		if err := n.SetCredentials(ctx, user, nil, huge); !errors.Is(err, ErrInvalid) {
			t.Errorf("with a salt that could not be read again: %v, want ErrInvalid", err)
		}
	})
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	c := Credential{Iterations: 4096, Salt: "secret", StoredKey: "secret", ServerKey: "secret"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for what, v := range map[string]any{"credential": c, "pointer": &c, "all": Credentials{"m": c}} {
			if got := fmt.Sprintf(format, v); strings.Contains(got, "secret") || strings.Contains(got, "736563726574") {
				t.Errorf("%s of a %s: %s", format, what, got)
			}
		}
	}
}
