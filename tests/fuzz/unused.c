/* What the instrumented library calls and no target needs; libFuzzer's own go before these. */
#include <stdint.h>

__attribute__((weak)) __thread uintptr_t __sancov_lowest_stack = UINTPTR_MAX;

__attribute__((weak)) void __sanitizer_cov_trace_pc_indir(uintptr_t callee) {
    (void)callee;
}
