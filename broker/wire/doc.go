// Package wire is the socket side of the Kafka protocol: listeners, connections,
// frames, request headers, pipelining, and responses whose record bytes leave by
// sendfile. It knows no API: a Handler above starts requests and answers.
//
// It is not where requests are decoded; package shape, below it, is what looks at a
// body before kmsg does.
//
// What always holds: requests of a connection are started in the order in which they
// came, and answered in that order. Every started request's Pending is called exactly
// once, also after the connection has died. A peer costs at most one buffer of 64 KiB
// until it has sent more than that, and all frames together at most the in-flight
// budget and one frame. Nothing that a peer sends, or fails to send or read, can do more
// than end its own connection.
//
//	accept ──► readRequests ──► Handler.Start ──► pipeline ──► writeResponses
//	            frame, header     in order        bounded       Pending, in order;
//	                                                            writev and sendfile
package wire
