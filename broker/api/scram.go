package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/cluster"
)

// SCRAM credentials (KIP-554). They are stored as an unsecured Kafka stores them: no listener
// authenticates yet, so they protect nothing until one does. Of a password that was salted
// and hashed, what is kept is what verifies it (RFC 5802), and only its iterations are shown.

// The mechanisms, numbered as in the protocol, and their iterations.
const (
	scramSHA256        = 1
	scramSHA512        = 2
	scramMinIterations = 4096
	scramMaxIterations = 16384
)

// scramMechanisms are the mechanisms in the order of the protocol's numbers.
var scramMechanisms = []struct {
	number int8
	hash   func() hash.Hash
}{
	{scramSHA256, sha256.New},
	{scramSHA512, sha512.New},
}

func (s *Server) describeUserSCRAMCredentials(_ *call, q *kmsg.DescribeUserSCRAMCredentialsRequest) *kmsg.DescribeUserSCRAMCredentialsResponse {
	p := q.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
	image := s.Store.Image()
	users := make([]string, 0, len(q.Users))
	for _, u := range q.Users {
		users = append(users, u.Name)
	}
	if len(users) == 0 {
		users = image.CredentialUsers()
	}
	asked := make(map[string]int, len(users))
	for _, name := range users {
		asked[name]++
	}
	for _, name := range users {
		if asked[name] == 0 {
			continue // answered already
		}
		r := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		r.User = name
		var err error
		switch credentials := image.Credentials(name); {
		case asked[name] > 1:
			err = refuse(kerr.DuplicateResource, "Cannot describe SCRAM credentials for the same user twice in a single request: "+name)
		case len(credentials) == 0:
			err = refuse(kerr.ResourceNotFound, "Attempt to describe a user credential that does not exist: "+name)
		default:
			r.CredentialInfos = describedCredentials(credentials)
		}
		asked[name] = 0
		r.ErrorCode, r.ErrorMessage = code(err), text(err)
		p.Results = append(p.Results, r)
	}
	return p
}

func describedCredentials(credentials cluster.Credentials) []kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo {
	var all []kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo
	for _, m := range scramMechanisms {
		if c, ok := credentials[cluster.Mechanisms[m.number]]; ok {
			to := kmsg.NewDescribeUserSCRAMCredentialsResponseResultCredentialInfo()
			to.Mechanism, to.Iterations = m.number, c.Iterations
			all = append(all, to)
		}
	}
	return all
}

func (s *Server) alterUserSCRAMCredentials(ctx context.Context, _ *call, q *kmsg.AlterUserSCRAMCredentialsRequest) *kmsg.AlterUserSCRAMCredentialsResponse {
	p := q.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	changes := scramChanges(q, s.Store.Image().Credentials)
	for _, user := range slices.Sorted(maps.Keys(changes)) {
		change := changes[user]
		err := change.err
		if err == nil {
			err = s.setCredentials(ctx, clone(user), change.make)
		}
		r := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		r.User, r.ErrorCode, r.ErrorMessage = user, code(err), text(err)
		p.Results = append(p.Results, r)
	}
	return p
}

func (s *Server) setCredentials(ctx context.Context, user string, next func(cluster.Credentials) cluster.Credentials) error {
	for range alterAttempts {
		old := s.Store.Image().Credentials(user)
		to := next(old)
		switch err := s.Store.SetCredentials(ctx, user, old, to); {
		case errors.Is(err, cluster.ErrConflict):
			continue
		case err == nil && len(to) > len(old):
			s.Log.Warn("a SCRAM credential was stored; it protects nothing, since no listener of this version asks for logins", zap.String("user", user))
			return nil
		default:
			return err
		}
	}
	return cluster.ErrConflict
}

// scramChange is what becomes of a user's credentials, or why nothing does.
type scramChange struct {
	err  error
	make func(old cluster.Credentials) cluster.Credentials
}

// errAlteredTwice refuses more than one change of a user.
var errAlteredTwice = refuse(kerr.DuplicateResource, "A user credential cannot be altered twice in the same request")

// scramChanges decides what becomes of each user that a request names: what it says of the
// user, or nothing, for the first fault in it. credentials returns those of a user.
func scramChanges(q *kmsg.AlterUserSCRAMCredentialsRequest, credentials func(user string) cluster.Credentials) map[string]scramChange {
	changes := make(map[string]scramChange)
	say := func(user string, change func() scramChange) {
		switch before, named := changes[user]; {
		case !named:
			changes[user] = change()
		case before.err == nil:
			changes[user] = scramChange{err: errAlteredTwice}
		}
	}
	for _, d := range q.Deletions {
		say(d.Name, func() scramChange { return scramDeletion(d.Name, d.Mechanism, credentials(d.Name)) })
	}
	for i := range q.Upsertions {
		u := &q.Upsertions[i]
		say(u.Name, func() scramChange { return scramUpsertion(u) })
	}
	return changes
}

func scramDeletion(user string, mechanism int8, has cluster.Credentials) scramChange {
	if err := checkSCRAMUser(user, mechanism); err != nil {
		return scramChange{err: err}
	}
	name := cluster.Mechanisms[mechanism]
	if _, ok := has[name]; !ok {
		return scramChange{err: refuse(kerr.ResourceNotFound, "Attempt to delete a user credential that does not exist")}
	}
	return scramChange{make: func(old cluster.Credentials) cluster.Credentials {
		next := maps.Clone(old)
		delete(next, name)
		return next
	}}
}

func scramUpsertion(u *kmsg.AlterUserSCRAMCredentialsRequestUpsertion) scramChange {
	err := checkSCRAMUser(u.Name, u.Mechanism)
	switch {
	case err != nil:
	case u.Iterations < scramMinIterations:
		err = refuse(kerr.UnacceptableCredential, "Too few iterations")
	case u.Iterations > scramMaxIterations:
		err = refuse(kerr.UnacceptableCredential, "Too many iterations")
	}
	if err != nil {
		return scramChange{err: err}
	}
	name, credential := cluster.Mechanisms[u.Mechanism], scramCredential(u)
	return scramChange{make: func(old cluster.Credentials) cluster.Credentials {
		next := maps.Clone(old)
		if next == nil {
			next = make(cluster.Credentials, 1)
		}
		next[name] = credential
		return next
	}}
}

// scramCredential makes of a salted password what verifies it (RFC 5802, section 3): the
// stored key is H(HMAC(salted password, "Client Key")), the server key HMAC(salted
// password, "Server Key").
func scramCredential(u *kmsg.AlterUserSCRAMCredentialsRequestUpsertion) cluster.Credential {
	newHash := scramMechanisms[u.Mechanism-scramSHA256].hash
	keyed := func(name string) []byte {
		m := hmac.New(newHash, u.SaltedPassword)
		m.Write([]byte(name))
		return m.Sum(nil)
	}
	stored := newHash()
	stored.Write(keyed("Client Key"))
	return cluster.Credential{
		Iterations: u.Iterations,
		Salt:       base64.StdEncoding.EncodeToString(u.Salt),
		StoredKey:  base64.StdEncoding.EncodeToString(stored.Sum(nil)),
		ServerKey:  base64.StdEncoding.EncodeToString(keyed("Server Key")),
	}
}

func checkSCRAMUser(name string, mechanism int8) error {
	switch {
	case name == "":
		return refuse(kerr.UnacceptableCredential, "Username must not be empty")
	case mechanism != scramSHA256 && mechanism != scramSHA512:
		return refuse(kerr.UnsupportedSaslMechanism, "Unknown SCRAM mechanism")
	}
	return nil
}
