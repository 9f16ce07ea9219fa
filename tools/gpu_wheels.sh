#!/usr/bin/env bash
# Fetch what a GPU machine without a network lacks, as wheels for Python 3.12 on Linux, into .whl/ (which git ignores).
#
#     tools/gpu_wheels.sh                  # what bench and its tests need beside PyTorch's usual company
#     tools/gpu_wheels.sh --onnxruntime    # also onnxruntime for CUDA, in chunks of 55 MiB, into .whl-chunks/
#
# Versions are those of constraints.txt. PYTHON names the Python whose pip fetches (default: python3).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
most_mib=20        # beside a tree without the demo's weights, or the last chunk: under 64 MiB together
chunk_mib=55
for_bench=(torch-pruning pydantic pydantic_core annotated-types typing-inspection typing_extensions zstandard)
for_tests=(PyWavelets jsonschema jsonschema-specifications referencing rpds-py)
from_source=(efficientnet_pytorch grad-cam ttach)

pinned() {
    local version
    version=$(grep -i "^${1//[-_]/[-_]}==" constraints.txt) || { echo "constraints.txt does not pin $1" >&2; exit 1; }
    echo "$version"
}

fetch() { # folder, requirement
    "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 \
        --abi abi3 --abi none --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform any -d "$1" "$2"
}

refuse_foreign() { # folder: every file is a wheel for CPython 3.12 or for any Python 3
    local wheel
    for wheel in "$1"/*; do
        case $wheel in
            *-cp312-cp312-*x86_64.whl | *-abi3-*x86_64.whl | *-py3-none-any.whl | *-py2.py3-none-any.whl) ;;
            *) echo "not a wheel for Python 3.12 on Linux: $wheel" >&2; exit 1 ;;
        esac
    done
}

small() {
    rm -rf .whl
    mkdir .whl
    local name requirement size
    for name in "${for_bench[@]}" "${for_tests[@]}"; do
        requirement=$(pinned "$name")
        fetch .whl "$requirement"
    done
    for name in "${from_source[@]}"; do
        requirement=$(pinned "$name")
        "$python" -m pip wheel -q --no-deps -w .whl "$requirement"
    done
    refuse_foreign .whl
    ls -l .whl
    size=$(du -sk .whl | cut -f1)
    echo "$((size / 1024)) MiB in $(ls .whl | wc -l) wheels"
    ((size <= most_mib * 1024)) || { echo "more than $most_mib MiB: leave something out" >&2; exit 1; }
}

chunks() {
    local folder=.whl-chunks requirement
    rm -rf $folder
    mkdir -p $folder/whole
    requirement=$(pinned onnxruntime-gpu)
    fetch $folder/whole "$requirement"
    refuse_foreign $folder/whole
    (cd $folder/whole && sha256sum ./*.whl) >$folder/SHA256
    (cd $folder/whole && ls ./*.whl) | sed 's|^\./||' >$folder/NAME
    split -b ${chunk_mib}m -d -a 1 $folder/whole/*.whl $folder/chunk.
    rm -r $folder/whole
    # Every chunk travels alone: a folder each, with what tells how to join them.
    local chunk
    for chunk in $folder/chunk.*; do
        mkdir "$folder/${chunk##*.}"
        mv "$chunk" "$folder/${chunk##*.}/"
        cp $folder/SHA256 $folder/NAME "$folder/${chunk##*.}/"
    done
    rm $folder/SHA256 $folder/NAME
    du -sh $folder/*
    echo "$(ls $folder | wc -l) chunks: carry $folder/0, then $folder/1, ... each with: tools/gpu_run.sh chunk N"
}

case ${1:-} in
    "") small ;;
    --onnxruntime)
        small
        chunks
        ;;
    *) echo "usage: $0 [--onnxruntime]" >&2; exit 2 ;;
esac
