// Package arch holds the tests that guard the shape of the house: which package may
// import which, where third-party code may be used, and which packages take clock,
// files and network as arguments. The rules are tables; a broken one fails with its
// reason.
package arch
