# What follows makes everything under one new name, and removes all of it at its end, in whatever way that comes.
set -euo pipefail
export REGION AWS_DEFAULT_REGION=$REGION

for program in mu aws; do
    command -v "$program" > /dev/null || { echo "error: there is no $program on PATH" >&2; exit 2; }
done
NAME=mu-check-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
PORT=${MU_CHECK_PORT:-13579}     # workers dial it, at this host's address or $MU_CHECK_HOST
WORK=$(mktemp -d)
STATE=$WORK/state
HOST=(${MU_CHECK_HOST:+"--host-addr=$MU_CHECK_HOST"})
made=()

step() { printf -- '-- %s (at most %s USD)\n' "$1" "$2"; }

remove() {
    case $1 in
        bucket) mu rm-bucket --force "s3://$NAME" ;;
        role) aws iam delete-role --role-name "$NAME" ;;
        policy) aws iam delete-role-policy --role-name "$NAME" --policy-name mu ;;
        function) mu functions rm "$NAME" ;;
        log) aws logs delete-log-group --log-group-name "/aws/lambda/$NAME" > /dev/null 2>&1 || true ;;
    esac
}

clean_up() {
    local status=$? left=() index
    trap - EXIT
    trap '' INT TERM
    step 'clean up' "$CLEAN_UP_COST"
    for ((index = ${#made[@]} - 1; index >= 0; index--)); do
        remove "${made[index]}" || left+=("${made[index]}")
    done
    rm -rf "$WORK"
    if ((${#left[@]})); then
        echo "error: not removed, or never made: ${left[*]} $NAME in $REGION" >&2
        status=1
    fi
    ((status == 0)) && echo "all is well, and nothing is left; at most $TOTAL_COST USD were spent"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step 'see whose account it is' 0
aws sts get-caller-identity --query Arn --output text

step "make the bucket $NAME" "$BUCKET_COST"
made+=(bucket)
mu mb "s3://$NAME"

step "make the role $NAME, for workers" 0
made+=(role)
AWS_ROLE=$(aws iam create-role --role-name "$NAME" --assume-role-policy-document "$(mu iam function --trust)" \
    --query Role.Arn --output text)
export AWS_ROLE
made+=(policy)
aws iam put-role-policy --role-name "$NAME" --policy-name mu --policy-document "$(mu iam function -b "$NAME")"

step "make the function $NAME of a script" 0
# shellcheck disable=SC2016  # the worker's shell expands it
printf '#!/bin/sh\necho $(($1 * $1))\n' > "$WORK/square"
made+=(function)
mu lambdaize "$WORK/square" --name "$NAME" --memory "$MEMORY" --timeout "$TIMEOUT"
made+=(log)

step 'have a worker dial back' "$DOCTOR_COST"
words=(-l "$NAME" -b "$NAME" -r "$REGION" -n "$WORKERS" --out 'out/{n}')
mu doctor --state-dir "$STATE" -t "$PORT" "${HOST[@]}" exec "${words[@]}" -- './square {n} > {out}'

step "run $WORKERS workers" "$JOB_COST"
mu run --state-dir "$STATE" -t "$PORT" "${HOST[@]}" exec "${words[@]}" --max-cost "$MAX_COST" -- './square {n} > {out}'

step 'check every result' "$RESULTS_COST"
for ((number = 0; number < WORKERS; number++)); do
    found=$(mu cp "s3://$NAME/out/$number" -)
    if [ "$found" != "$((number * number))" ]; then
        echo "error: the result of task $number is '$found', expected $((number * number))" >&2
        exit 1
    fi
done

step 'see what the job has cost' 0
mu status --state-dir "$STATE" "$(mu jobs --state-dir "$STATE" | awk 'NR == 2 { print $1 }')"
