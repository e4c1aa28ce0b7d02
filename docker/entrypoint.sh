#!/bin/sh
# What a container is: head, worker, driver ARGUMENTS OF hpo, dashboard, or any command.
# Secrets come as files: RAY_AUTH_TOKEN_PATH, POSTGRES_PASSWORD_FILE, HPO_DASHBOARD_TOKEN_FILE.
set -eu
umask 077
RAY_HEAD=${RAY_HEAD:-head:6379}

if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
  # libpq's own file: the password is in no URL, no environment and no process list.
  PGPASSFILE="${HOME}/.pgpass"
  printf '*:*:*:*:%s\n' "$(sed 's/\\/\\\\/g; s/:/\\:/g' "$POSTGRES_PASSWORD_FILE")" > "$PGPASSFILE"
  export PGPASSFILE
fi

case "${1:-}" in
  head)
    exec ray start --head --block --port="${RAY_HEAD##*:}" --num-cpus=0 --include-dashboard=false \
      --disable-usage-stats ;;
  worker)
    exec ray start --block --address="$RAY_HEAD" --disable-usage-stats ;;
  driver)
    # A driver has to be on a node of the cluster: this one brings no cores.
    shift
    ray start --address="$RAY_HEAD" --num-cpus=0 --disable-usage-stats > /dev/null
    exec hpo "$@" ;;
  dashboard)
    shift
    exec hpo dashboard --host 0.0.0.0 --port "${HPO_PORT:-8080}" \
      --token-file "${HPO_DASHBOARD_TOKEN_FILE:?names the file with the token}" "$@" ;;
  *)
    exec "$@" ;;
esac
