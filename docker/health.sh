#!/bin/sh
# Healthy: a Ray node answers, a dashboard listens; a one-off command is as it is.
set -eu
role=$(tr '\0' ' ' < /proc/1/cmdline)
case "$role" in
  *"ray start"*) ray health-check --address "${RAY_HEAD:-127.0.0.1:6379}" ;;
  *"hpo dashboard"*)
    python -c 'import socket; socket.create_connection(("127.0.0.1", 8080), 5).close()' ;;
esac
