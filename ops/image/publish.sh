#!/bin/sh
# Gives a merge request's jobs their image, by writing image.env: the recorded image if it was built from the same files
# as this commit's, otherwise a new one. The job ci-image runs it in Docker's image, whose shell is BusyBox's.
set -eu

inputs="$(sh ops/image/inputs.sh)"
repository="$CI_REGISTRY_IMAGE/ci"
printf '%s' "$CI_REGISTRY_PASSWORD" | docker login --username "$CI_REGISTRY_USER" --password-stdin "$CI_REGISTRY"

if [ "$PMP_IMAGE_INPUTS" = "$inputs" ]; then
  image="$repository@$PMP_IMAGE_DIGEST"
  docker pull --quiet "$image"
  label="$(docker inspect --format '{{ index .Config.Labels "pmp.inputs" }}' "$image")"
  if [ "$label" != "$inputs" ]; then
    echo "error: $image was built from other files than .gitlab-ci.yml says:" >&2
    echo "  label $label, PMP_IMAGE_INPUTS $inputs" >&2
    echo "  Record the digest that an earlier run of this job printed: make image-lock DIGEST=sha256:..." >&2
    exit 1
  fi
  echo "The recorded image fits this commit: $image"
else
  # A tag of its own: the registry may remove an image whose tag has moved on to another.
  tag="$repository:$inputs-$CI_JOB_ID"
  docker build --file ops/image/Dockerfile --build-arg INPUTS="$inputs" --tag "$tag" .
  docker push --quiet "$tag"
  image="$(docker inspect --format '{{ index .RepoDigests 0 }}' "$tag")"
  echo "Built from this commit: $image"
  echo "Before the merge, record it: make image-lock DIGEST=${image#*@}"
fi
echo "PMP_IMAGE=$image" > image.env
