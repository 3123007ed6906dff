# What the scripts of this folder have in common.

# The stable compiler has what a fuzzer needs, but only nightly ones say so.
export RUSTC_BOOTSTRAP=1
# What was freed is kept by the sanitizer for a while. By default that is 256 MB, which would count as
# the target's own.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=16"

# 1 MiB of input held and the codecs' 1 MiB frames fit into this many times over; what allocates on
# a claimed length does not. The rest is the sanitizer's and the fuzzer's own.
limits=(-max_len=65536 -timeout=10 -rss_limit_mb=256 -malloc_limit_mb=16)
