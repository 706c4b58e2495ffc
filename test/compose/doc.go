// Package compose holds the end-to-end test of compose/: Docker's daemon builds the
// image and runs MinIO beside a broker, and clients of this machine and of a sibling
// container connect without a setting. It needs a Docker daemon ($DOCKER_HOST) and
// docker-compose or `docker compose`; what is missing fails the test.
package compose
