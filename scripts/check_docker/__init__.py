"""A stand-in for a Docker engine, just large enough to run this project's Dockerfile and docker-compose.yaml."""
