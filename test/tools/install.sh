#!/usr/bin/env bash
# Installs the tools that tests need, by name, into $VARVE_TOOLS; what is there already
# is left alone. Everything is pinned. Only package registries are used.
set -euo pipefail

tools=${VARVE_TOOLS:?the directory to install into}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$tools/bin"

minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
versitygw_version=v1.8.0
lint_version=v2.15.0
# librdkafka 2.15.1 with its tests lies in Confluent's Node.js client.
librdkafka_version=1.10.1
librdkafka_sum=ada7d703bb1d3237e2292bfabf438d663b6160c9f1ac2a2406b5dc4257c81b66

say() { echo "install: $*" >&2; }

# gotool NAME PACKAGE VERSION builds a Go program into $tools/bin.
gotool() {
	local stamp="$tools/bin/.$1-$3"
	[ -e "$stamp" ] && [ -x "$tools/bin/$1" ] && return
	say "$1 $3 (built from source, some minutes the first time)"
	GOBIN="$tools/bin" GOFLAGS=-buildvcs=false go install "$2@$3"
	touch "$stamp"
}

# apt PACKAGE COMMAND installs a Debian package unless its command is there.
apt() {
	command -v "$2" >/dev/null && return
	say "$1 (apt)"
	local sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -qq >/dev/null
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# header PACKAGE FILE installs a Debian package unless its header is there.
header() {
	[ -e "/usr/include/$2" ] || apt "$1" "no-command-of-$1"
}

# stamped NAME FILE COMMAND... runs a command again only when FILE has changed.
stamped() {
	local stamp="$tools/.$1" sum
	sum=$(sha256sum "$2" | cut -d' ' -f1)
	shift 2
	[ -e "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && return
	"$@"
	echo "$sum" >"$stamp"
}

kafka() {
	say "Apache Kafka's jars (Maven Central)"
	rm -rf "$tools/kafka"
	mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$tools/kafka"
}

python() {
	say "Python clients (PyPI)"
	rm -rf "$tools/python"
	python3 -m venv "$tools/python"
	"$tools/python/bin/pip" install -q --disable-pip-version-check -r "$here/python/requirements.txt"
}

# kaskade has an environment of its own: it pins another version of a client.
kaskade() {
	say "Kaskade, an admin UI (PyPI)"
	rm -rf "$tools/kaskade"
	python3 -m venv "$tools/kaskade"
	"$tools/kaskade/bin/pip" install -q --disable-pip-version-check -r "$here/kaskade/requirements.txt"
}

quarkus() {
	say "the admin UI of Quarkus (Maven Central)"
	rm -rf "$tools/quarkus"
	mvn -q -B -f "$here/quarkus/pom.xml" dependency:copy-dependencies -DoutputDirectory="$tools/quarkus"
}

# node builds Confluent's client from source, against the system's libraries: what it would
# download instead does not come from the registry.
node() {
	say "Node.js clients (npm, one built from source, some minutes)"
	mkdir -p "$tools/node"
	cp "$here/node/package.json" "$here/node/package-lock.json" "$tools/node/"
	CKJS_LINKING=dynamic npm_config_nodedir=/usr npm --prefix "$tools/node" ci --silent --no-audit --no-fund \
		--build-from-source=@confluentinc/kafka-javascript
}

# librdkafka_headers are what librdkafka is built with.
librdkafka_headers() {
	apt g++ g++ && apt make make
	header zlib1g-dev zlib.h && header libssl-dev openssl/ssl.h && header libzstd-dev zstd.h && header libcurl4-openssl-dev "$(gcc -print-multiarch)/curl/curl.h"
}

# librdkafka builds its test runner. Topics of three replicas become such of the default
# number: the tests meet one broker.
librdkafka() {
	local dir="$tools/librdkafka" tgz=confluentinc-kafka-javascript-$librdkafka_version.tgz
	[ -e "$dir/.built-$librdkafka_version" ] && return
	say "librdkafka's tests (npm, built from source, some minutes)"
	rm -rf "$dir"
	mkdir -p "$dir"
	(
		cd "$dir" &&
			npm pack --silent "@confluentinc/kafka-javascript@$librdkafka_version" &&
			echo "$librdkafka_sum  $tgz" | sha256sum --check --quiet &&
			tar xzf "$tgz" --strip-components=3 package/deps/librdkafka &&
			sed -i -E 's/(create_topic_wait_exists\(.*), 3, 5000\)/\1, -1, 5000)/' tests/0*.c tests/0*.cpp &&
			./configure --disable-gssapi --disable-curl &&
			make -j2 libs &&
			make -j2 -C tests test-runner
	) >"$dir.log" 2>&1 || { tail -n 20 "$dir.log" >&2 && return 1; }
	touch "$dir/.built-$librdkafka_version"
}

for tool in "$@"; do
	case $tool in
	minio) gotool minio github.com/minio/minio $minio_version ;;
	versitygw) gotool versitygw github.com/versity/versitygw/cmd/versitygw $versitygw_version ;;
	lint) gotool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint $lint_version ;;
	kcat) apt kcat kcat && apt strace strace ;;
	kafka) apt openjdk-17-jdk-headless javac && apt maven mvn && stamped kafka "$here/kafka/pom.xml" kafka ;;
	python) apt python3-venv python3 && stamped python "$here/python/requirements.txt" python ;;
	kaskade) apt python3-venv python3 && stamped kaskade "$here/kaskade/requirements.txt" kaskade ;;
	quarkus) apt openjdk-17-jdk-headless javac && apt maven mvn && stamped quarkus "$here/quarkus/pom.xml" quarkus ;;
	node)
		apt nodejs node && apt npm npm && header libnode-dev node/node.h
		librdkafka_headers
		stamped node "$here/node/package-lock.json" node
		;;
	disks) apt e2fsprogs mkfs.ext4 && apt xfsprogs mkfs.xfs ;;
	librdkafka)
		apt openjdk-17-jdk-headless javac && apt npm npm
		librdkafka_headers
		header rapidjson-dev rapidjson/rapidjson.h
		librdkafka
		;;
	docker) apt docker.io dockerd && apt docker-compose docker-compose && apt iptables iptables ;;
	*) say "no such tool: $tool" && exit 2 ;;
	esac
done
