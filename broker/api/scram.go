package api

import (
	"cmp"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// SCRAM credentials (KIP-554). Nobody authenticates here yet, so there are none: a
// credential that was stored would promise a protection that is not there. What is wrong
// with a request is said as Kafka says it; what would be right is refused.

// The mechanisms, numbered as in the protocol, and their iterations.
const (
	scramSHA256        = 1
	scramSHA512        = 2
	scramMinIterations = 4096
	scramMaxIterations = 16384
)

func (s *Server) describeUserSCRAMCredentials(_ *call, q *kmsg.DescribeUserSCRAMCredentialsRequest) *kmsg.DescribeUserSCRAMCredentialsResponse {
	p := q.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
	asked := make(map[string]int, len(q.Users))
	for _, u := range q.Users {
		asked[u.Name]++
	}
	for _, u := range q.Users {
		r := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		r.User = u.Name
		var err error
		switch asked[u.Name] {
		case 0:
			continue // answered already
		case 1:
			err = refuse(kerr.ResourceNotFound, "Attempt to describe a user credential that does not exist: "+u.Name)
		default:
			err = refuse(kerr.DuplicateResource, "Cannot describe SCRAM credentials for the same user twice in a single request: "+u.Name)
		}
		asked[u.Name] = 0
		r.ErrorCode, r.ErrorMessage = code(err), text(err)
		p.Results = append(p.Results, r)
	}
	return p
}

func (s *Server) alterUserSCRAMCredentials(_ *call, q *kmsg.AlterUserSCRAMCredentialsRequest) *kmsg.AlterUserSCRAMCredentialsResponse {
	p := q.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	for user, err := range scramRefusals(q) {
		r := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		r.User, r.ErrorCode, r.ErrorMessage = user, code(err), text(err)
		p.Results = append(p.Results, r)
	}
	slices.SortFunc(p.Results, func(a, b kmsg.AlterUserSCRAMCredentialsResponseResult) int { return cmp.Compare(a.User, b.User) })
	return p
}

// errNoSCRAM refuses a credential in which there is nothing wrong.
var errNoSCRAM = refuse(kerr.UnsupportedSaslMechanism, "No listener of this broker authenticates by SCRAM: the credential would protect nothing, and is not stored.")

// scramRefusals decides why each user of a request keeps the credentials it has: for the
// first fault in what is to be done to it.
func scramRefusals(q *kmsg.AlterUserSCRAMCredentialsRequest) map[string]error {
	users := make(map[string]error)
	for _, d := range q.Deletions {
		if users[d.Name] != nil {
			continue
		}
		users[d.Name] = checkSCRAMUser(d.Name, d.Mechanism)
		if users[d.Name] == nil {
			users[d.Name] = refuse(kerr.ResourceNotFound, "Attempt to delete a user credential that does not exist")
		}
	}
	for i := range q.Upsertions {
		u := &q.Upsertions[i]
		switch err := users[u.Name]; {
		case err == nil:
			users[u.Name] = scramUpsertion(u)
		case errors.Is(err, errNoSCRAM):
			users[u.Name] = refuse(kerr.DuplicateResource, "A user credential cannot be altered twice in the same request")
		}
	}
	return users
}

func scramUpsertion(u *kmsg.AlterUserSCRAMCredentialsRequestUpsertion) error {
	err := checkSCRAMUser(u.Name, u.Mechanism)
	switch {
	case err != nil:
		return err
	case u.Iterations < scramMinIterations:
		return refuse(kerr.UnacceptableCredential, "Too few iterations")
	case u.Iterations > scramMaxIterations:
		return refuse(kerr.UnacceptableCredential, "Too many iterations")
	}
	return errNoSCRAM
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
