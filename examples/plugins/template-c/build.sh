#!/bin/sh
# Builds plugin.wasm. Wants clang and its linker for WebAssembly (Debian: apt-get install clang lld).
set -eu
cd "$(dirname "$0")"
# Where cohab_plugin.h is; a plugin of your own has a copy of it.
sdk="${COHAB_SDK:-../../../crates/cohab-plugin/sdk}"
exec "${CC:-clang}" --target=wasm32 -std=c99 -Wall -Wextra -O2 -ffreestanding -nostdlib -mbulk-memory \
    -Wl,--no-entry,--stack-first,--strip-all -I "$sdk/c" -o "${1:-plugin.wasm}" plugin.c
