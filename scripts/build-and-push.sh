#!/usr/bin/env bash
# Builds the images of service and worker from the last commit and pushes them, under the commit as tag.
#
#   ./scripts/build-and-push.sh [--dry-run] [--force] [--env-file=FILE]
#
# Cloud Build builds them, or with BUILD_WITH=docker this machine. Only what is committed is built: neither
# .env nor what you are trying out gets into an image. Images that exist are not built again, save with --force.
# Needs PROJECT_ID, REGION and GCS_LOGS_BUCKET from .env or the environment.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/common.sh
. scripts/lib/settings.sh
. scripts/lib/deploy.sh

all_images_exist() {
  local image
  for image in service worker; do
    exists artifacts docker images describe "$(image_name "$image"):$IMAGE_TAG" || return 1
  done
}

build_in_cloud() {
  git archive --format=tar.gz --output="$scratch/source.tar.gz" HEAD
  change "images $(image_name '{service,worker}'):$IMAGE_TAG, built by Cloud Build" \
    builds submit "$scratch/source.tar.gz" --config=deploy/cloudbuild.yaml --region="$REGION" \
    --substitutions="_PREFIX=$(image_name ''),_TAG=$IMAGE_TAG"
}

build_here() {
  local image
  need_programs docker
  for image in service worker; do
    changes=$((changes + 1))
    if [[ $DRY_RUN == true ]]; then
      say "  would     build and push $(image_name "$image"):$IMAGE_TAG"
      continue
    fi
    say "  change    image $(image_name "$image"):$IMAGE_TAG"
    git archive HEAD |
      docker build --platform=linux/amd64 --target="$image" --tag="$(image_name "$image"):$IMAGE_TAG" -
    docker push "$(image_name "$image"):$IMAGE_TAG"
  done
}

begin "--force" "PROJECT_ID REGION GCS_LOGS_BUCKET" "$@"
need_programs git
image_tag
[[ -z $(git status --porcelain 2>/dev/null) ]] || warn "changes that are not committed are not built"
if [[ $FORCE == false ]] && all_images_exist; then
  keep "images of $IMAGE_TAG"
elif [[ $BUILD_WITH == docker ]]; then
  build_here
else
  build_in_cloud
fi
tell_end
say "next: ./scripts/deploy-job.sh, then ./scripts/deploy-service.sh"
