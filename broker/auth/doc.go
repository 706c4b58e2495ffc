// Package auth decides what a client may take: client quotas (KIP-13, KIP-124, KIP-257,
// KIP-599, KIP-612). It is told who asks, for how much and when, and answers with a time
// to wait; whoever asks carries that out. It knows no connection, request or clock, and
// holds no credentials and no access rules.
//
// What always holds: with no quota of a kind set, asking for that kind is one atomic load.
// What a Limiter remembers is bounded, whatever clients call themselves, and forgetting it
// changes no answer.
package auth
