package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Credential is a SCRAM credential (RFC 5802): what a server needs to verify a password,
// and to prove that it knew it, but not the password. Stored key and server key are
// secrets all the same: whoever has them can act for the server, so nothing prints them.
type Credential struct {
	Iterations int32  `json:"iterations"`
	Salt       string `json:"salt"` // this and the keys in base64
	StoredKey  string `json:"stored_key"`
	ServerKey  string `json:"server_key"`
}

// Format hides the secrets, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "SCRAM, %d iterations", c.Iterations)
}

// Mechanisms are the names of the mechanisms of SCRAM by their numbers in the protocol
// (KIP-554).
var Mechanisms = map[int8]string{1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}

// Credentials are those of one user, by the name of the mechanism.
type Credentials map[string]Credential

// Credentials returns the SCRAM credentials of a user. Nil: none.
func (i *Image) Credentials(user string) Credentials { return i.scram[user] }

// CredentialUsers returns the users that have SCRAM credentials, sorted.
func (i *Image) CredentialUsers() []string { return slices.Sorted(maps.Keys(i.scram)) }

// maxUser bounds the name of a user with credentials, in bytes.
const maxUser = 8 << 10

// SetCredentials replaces the SCRAM credentials of a user if they are still those of from;
// otherwise it returns ErrConflict.
func (s *Store) SetCredentials(ctx context.Context, user string, from, to Credentials) error {
	if user == "" || len(user) > maxUser {
		return fmt.Errorf("%w: the name of a user with credentials has from 1 to %d bytes", ErrInvalid, maxUser)
	}
	return setMap(ctx, s, scramRoot+user, fmt.Sprintf("credentials of %q", user), from, to)
}

func (s *state) putSCRAM(key, user string, kv *mvccpb.KeyValue) error {
	var r Credentials
	if err := decode(key, kv.Value, &r); err != nil {
		return err
	}
	s.scram[user] = r
	s.touchedSCRAM = true
	return nil
}
