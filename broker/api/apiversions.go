package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/wire"
)

// apiVersions answers with the table (KIP-35) and remembers the client's software (KIP-511).
func (s *Server) apiVersions(c *call, q *kmsg.ApiVersionsRequest) *kmsg.ApiVersionsResponse {
	p := q.ResponseKind().(*kmsg.ApiVersionsResponse)
	if c.Version >= 3 {
		if !plausibleSoftware(q.ClientSoftwareName) || !plausibleSoftware(q.ClientSoftwareVersion) {
			p.ErrorCode = kerr.InvalidRequest.Code
			return p
		}
		c.Conn.SetSoftware(q.ClientSoftwareName, q.ClientSoftwareVersion)
	}
	p.ApiKeys = s.advertised()
	image := s.Store.Image()
	showFeatures(p, c.Version, image.Features())
	p.FinalizedFeaturesEpoch = image.Revision()
	return p
}

// advertised is what is offered of the table, as ApiVersions shows it.
func (s *Server) advertised() []kmsg.ApiVersionsResponseApiKey {
	keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(table))
	for _, a := range s.apis {
		if a == nil {
			continue
		}
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.advertised, a.max
		keys = append(keys, k)
	}
	return keys
}

// unsupportedApiVersions answers a version of ApiVersions that we do not know: as
// version 0, with an error and the whole list, so that the client can choose (KIP-511).
func (s *Server) unsupportedApiVersions() wire.Pending {
	p := kmsg.NewPtrApiVersionsResponse()
	p.SetVersion(0)
	p.ErrorCode = kerr.UnsupportedVersion.Code
	p.ApiKeys = s.advertised()
	return func(context.Context) (*wire.Response, error) {
		return &wire.Response{Chunks: []wire.Chunk{{Bytes: p.AppendTo(nil)}}}, nil
	}
}

// plausibleSoftware is the pattern of KIP-511: [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?
func plausibleSoftware(name string) bool {
	for i := 0; i < len(name); i++ {
		b := name[i]
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		case (b == '-' || b == '.') && i > 0 && i < len(name)-1:
		default:
			return false
		}
	}
	return name != ""
}
