#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time, one after the other.
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${1:?how long each target runs, as 10s or 5m}
ran=0
for package in $(go list ./...); do
	dir=$(go list -f '{{.Dir}}' "$package")
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | cut -d' ' -f2 | sort -u); do
		go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1s
		ran=$((ran + 1))
	done
done
[ "$ran" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$ran fuzz targets, $time each: no crash"
