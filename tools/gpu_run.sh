#!/usr/bin/env bash
# One call on a GPU machine, in the root of the tree that was copied there. tools/README.md says when each is due.
#
#     tools/gpu_run.sh first           # unpack .whl; then all parts but the demo
#     tools/gpu_run.sh second          # the demo, which needs its weights; `second compiled` also runs that part
#     tools/gpu_run.sh chunk 0         # keep a chunk of the wheel of onnxruntime for CUDA
#     tools/gpu_run.sh onnxruntime     # join them, install, and run the part onnxruntime
#     tools/gpu_run.sh check PART ...  # any parts
#
# What is needed again is kept in ${KEEP:-~/keep}, outside the tree; results go to ${OUT:-gpu-check}.
set -euo pipefail
cd "$(dirname "$0")/.."

keep=${KEEP:-$HOME/keep}
out=${OUT:-gpu-check}
python=${PYTHON:-python3}
mkdir -p "$keep" "$out"
export PYTHONPATH=$keep/onnxruntime:$keep/site:$PWD PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

unpack() { # wheels into a folder, without a network; a folder that was filled whole is left as it is
    local folder=$1
    shift
    [[ -e $folder.complete ]] && return
    rm -rf "$folder"
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$folder" "$@"
    touch "$folder.complete"
}

check() {
    [[ ! -d .whl ]] || unpack "$keep/site" .whl/*.whl
    local earlier=()
    [[ ! -e $keep/gpu-check.json ]] || earlier=(--earlier "$keep/gpu-check.json")
    local code=0
    "$python" tools/gpu_check.py "$@" --out "$out" --work "$keep/work" ${earlier[@]+"${earlier[@]}"} ${CHECK_OPTIONS:-} ||
        code=$?
    [[ ! -e $out/gpu-check.json ]] || cp "$out/gpu-check.json" "$keep/gpu-check.json"
    return $code
}

keep_chunk() {
    local number=$1 folder=.whl-chunks/$1
    [[ -e $folder/chunk.$number ]] || { echo "no $folder/chunk.$number: carry the folder $folder" >&2; exit 2; }
    mkdir -p "$keep/chunks"
    cp "$folder"/* "$keep/chunks/"
    [[ ! -d .whl ]] || unpack "$keep/site" .whl/*.whl
    ls -l "$keep/chunks"
}

join() {
    [[ ! -e $keep/onnxruntime.complete ]] || return 0
    local wheel
    wheel=$(cat "$keep/chunks/NAME")
    cat "$keep"/chunks/chunk.* >"$keep/chunks/$wheel"
    (cd "$keep/chunks" && sha256sum -c SHA256)
    unpack "$keep/onnxruntime" "$keep/chunks/$wheel"
    # It looks for CUDA's and cuDNN's libraries beside itself: those that PyTorch brought.
    local nvidia
    nvidia=$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0])') || { echo "no package nvidia here"; return 0; }
    ln -sfn "$nvidia" "$keep/onnxruntime/nvidia"
}

case ${1:-} in
    first) check environment tests large evaluation usual-way recover ;;
    second) check environment demo "${@:2}" ;;  # environment: if it did not end in the first
    chunk) keep_chunk "${2:?which chunk: 0, 1, ...}" ;;
    onnxruntime)
        join
        check onnxruntime "${@:2}"
        ;;
    check) check "${@:2}" ;;
    *)
        sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
