#!/bin/sh
# Makes the secrets of compose.yaml, once; existing ones are kept.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
for name in ray_token postgres_password dashboard_token; do
  [ -s "secrets/$name" ] || (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "secrets/$name")
done
# The containers' user is not yours: the folder keeps others out, the files are readable inside.
chmod 700 secrets && chmod 644 secrets/*
echo "Dashboard token: docker/secrets/dashboard_token"
