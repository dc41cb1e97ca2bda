#!/bin/bash
# What is claimed or open for a GPU, in one call of at most 9 minutes.
#
#   bench/on_gpu.sh prepare FOLDER        where the packages can be had, after `make demo`: shards, tokenizers, and the
#                                         Python packages that a machine with PyTorch and transformers lacks (55 MiB)
#   bench/on_gpu.sh run FOLDER [OUT]      on the machine with the GPU, from the repository's root; PYTHON names another
#                                         Python than python3
#
# Transcription in large-v3's shape, and where its time goes (bench/transcribe_gpu.py); training in the published shape:
# adapters as they are and compiled, and the whole language model compiled (bench/train_gpu.py). Each part has its time,
# and a part that fails or is late does not keep the others from theirs.
set -u
cd "$(dirname "$0")/.." || exit 2

GPU_PYTHON=3.12
PACKAGES="pydantic pydantic-core annotated-types isal soxr soundfile cffi rapidfuzz python-iso639 ruamel.yaml whisper-normalizer
  msgspec"

prepare() {
  local folder=$1 python=.venv/bin/python
  mkdir -p "$folder/site" || exit 2
  cp -r demo-out/shards "$folder/shards" || { echo "no demo-out/shards: run make demo first" >&2; exit 2; }
  for kind in whisper_base smollm2; do
    local weights
    weights=$($python -c "from llaso_data.demo import weights; print(weights.$kind())" 2>/dev/null | tail -n 1)
    mkdir -p "$folder/$kind" && find -L "$weights" -maxdepth 1 \( -name '*.json' -o -name '*.txt' \) -exec cp {} "$folder/$kind" \;
  done
  # shellcheck disable=SC2086
  $python -m pip install --quiet --no-deps --only-binary :all: --python-version $GPU_PYTHON \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --implementation cp \
    --constraint constraints.txt --upgrade --target "$folder/site" $PACKAGES || exit 1
  du -sh "$folder"
}

part() { # part SECONDS NAME command...
  local seconds=$1 name=$2
  shift 2
  echo "== $name"
  timeout --kill-after=10 "$seconds" "$@" 2>"$OUT/$name.log" || {
    echo "($name: ended with $?)"
    tail -n 3 "$OUT/$name.log"
  }
}

run() {
  local folder=$1 python=${PYTHON:-python3}
  OUT=${2:-$folder/out}
  mkdir -p "$OUT" || exit 2
  export PYTHONPATH="$PWD:$folder/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
  $python -c "import torch, transformers; print(torch.cuda.get_device_name(), torch.__version__, transformers.__version__)"
  part 170 transcription "$python" bench/transcribe_gpu.py --vocabulary "$folder/whisper_base"
  part 340 training "$python" bench/train_gpu.py --shards "$folder/shards" --tokenizer "$folder/smollm2" \
    --out "$OUT/train" --ways adapters "adapters, compiled" "whole language model, compiled"
}

case "${1:-} ${2:-}" in
  "prepare "?*) prepare "$2" ;;
  "run "?*) run "$2" "${3:-}" ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
